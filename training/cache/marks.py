"""What a cached picture was made of, in one hash: on the next run it tells whether picture, caption or key changed."""

from __future__ import annotations

import hashlib

from ..tars.place import Place
from .captions import CaptionedPicture

RULES = 1
"""Counts the versions of the rules by which pictures are read or left out; what was left out by older ones is tried
again. Caches from before there were any have 0."""
_BLOCK = 2**20


def mark_of(picture: CaptionedPicture, caption_key: str) -> str:
    """A hash of the picture's and its caption's bytes and, where it is read by one, the key; empty if unreadable."""
    key = caption_key if picture.caption_suffix == ".json" else ""
    digest = hashlib.sha256(key.encode())
    try:
        for place in (picture.caption, picture.picture):
            digest.update(hash_of(place))
    except OSError:
        return ""
    return digest.hexdigest()


def hash_of(place: Place) -> bytes:
    """SHA-256 of the bytes at a place. Raises OSError."""
    if place.sha256:
        return bytes.fromhex(place.sha256)
    digest = hashlib.sha256()
    with place.file.open("rb") as file:
        file.seek(place.offset)
        left = place.size
        while block := file.read(_BLOCK if left < 0 else min(_BLOCK, left)):
            digest.update(block)
            left -= len(block) if left >= 0 else 0
    return digest.digest()
