"""What a cached picture was made of, in one hash: on the next run it tells whether picture, caption or key changed."""

from __future__ import annotations

import hashlib

from .caption_sources import CaptionedPicture

RULES = 1
"""Counts the versions of the rules by which pictures are read or left out; what was left out by older ones is tried
again. Caches from before there were any have 0."""


def mark_of(picture: CaptionedPicture, caption_key: str) -> str:
    """A hash of the picture's and its caption's bytes and, where it is read by one, the key; empty if unreadable."""
    key = caption_key if picture.caption_suffix == ".json" else ""
    try:
        parts = (key.encode(), picture.caption.read(), picture.picture.read())
    except OSError:
        return ""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
