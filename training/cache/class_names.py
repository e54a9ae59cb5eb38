"""The class of a picture that lies with others of its class: what a `.cls` file says, its folder, or its tar file."""

from __future__ import annotations

from pathlib import Path, PurePath

from .captions import Named, Place

CLASS_SUFFIX = ".cls"
"""WebDataset's for the number of a class."""
Caption = tuple[Place | Named, str]
"""A caption and the suffix by which it is read."""


def class_of_file(picture: Path) -> Caption:
    """Of a picture's file: what the .cls file of its name beside it says, else the name of its folder."""
    beside = picture.with_suffix(CLASS_SUFFIX)
    if beside.is_file():
        return Place(beside), CLASS_SUFFIX
    return Named(picture.parent.name), CLASS_SUFFIX


def class_of_member(said: Place | None, member: PurePath, shard: Path) -> Caption:
    """Of a picture in a tar file: what the .cls member of its sample says, else the name of its folder in there, else
    that of the tar file, which is how ImageNet's own archives hold a class each."""
    if said is not None:
        return said, CLASS_SUFFIX
    return Named(member.parent.name or shard.stem), CLASS_SUFFIX
