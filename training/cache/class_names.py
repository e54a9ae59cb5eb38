"""The class of a picture that lies with others of its class: what a `.cls` file says, its folder, or its tar file."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

from ..tars.place import Place

CLASS_SUFFIX = ".cls"
"""WebDataset's for the number of a class."""
Caption = tuple[Place, str]
"""A caption and the suffix by which it is read."""


def class_of_file(picture: Path) -> Caption:
    """Of a picture's file: what the .cls file of its name beside it says, else the name of its folder."""
    beside = picture.with_suffix(CLASS_SUFFIX)
    if beside.is_file():
        return Place(beside), CLASS_SUFFIX
    return _named(picture, picture.parent.name), CLASS_SUFFIX


def class_of_member(said: Place | None, member: PurePath, shard: Path, its_class: str) -> Caption:
    """Of a picture in a tar file: what the .cls member of its sample says, else the name of its folder in there, else
    `its_class`, the tar file's name, for ImageNet's own archives hold a class each."""
    if said is not None:
        return said, CLASS_SUFFIX
    return _named(shard, member.parent.name or its_class), CLASS_SUFFIX


def _named(file: Path, name: str) -> Place:
    """A caption that stands in no file: the name of what the picture in `file` lies in."""
    # A name that is no text is refused where captions are read.
    told = name.encode("utf-8", "surrogateescape")
    return Place(file, 0, len(told), hashlib.sha256(told).hexdigest(), told)
