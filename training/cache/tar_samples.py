"""Captioned pictures in a WebDataset shard, an uncompressed tar file that is read in place."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..pictures import SUFFIXES, UNREAD_SUFFIXES, spelled, warn_of_unread
from ..tars.members import members_of
from ..tars.place import Place
from .captions import CAPTION_SUFFIXES, CaptionedPicture
from .class_names import CLASS_SUFFIX, class_of_member

_KNOWN = {*SUFFIXES, *UNREAD_SUFFIXES, *CAPTION_SUFFIXES, CLASS_SUFFIX}
Members = dict[str, Place]
"""The files of one sample by suffix, in lower case."""


def scan_tar(
    shard: Path, label: str, its_class: str | None = None
) -> tuple[list[CaptionedPicture], list[str]]:
    """The samples of a shard whose pictures are called `label`/…, and the names of pictures without a caption.

    `its_class`: the class of pictures of which nothing else says one; then all captions are classes (class_names.py).
    A sample's members share the name up to its first dot. A picture whose name goes on after a dot (`v1.5_a.png`) is
    one too, if the sample of its first part has no picture, or a caption beside it has the same name up to its last.
    Raises TrainingError for a file that is no tar file, or not a whole one.
    """
    samples, dotted = _samples(shard)
    pictures, bare = [], []
    unread: list[PurePosixPath] = []
    for stem, members in sorted({**dotted, **samples}.items()):
        picture = next((suffix for suffix in members if suffix in SUFFIXES), None)
        if picture is None:
            unread += [
                PurePosixPath(stem + suffix) for suffix in members if suffix in UNREAD_SUFFIXES
            ]
            continue
        name = f"{label}/{stem}{picture}"
        if its_class is not None:
            said = members.get(CLASS_SUFFIX)
            told = class_of_member(said, PurePosixPath(stem), shard, its_class)
            pictures.append(CaptionedPicture(name, members[picture], *told))
            continue
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
        if caption is None:
            bare.append(name)
        else:
            pictures.append(CaptionedPicture(name, members[picture], members[caption], caption))
    warn_of_unread(unread, f"source.shards names {shard}")
    return pictures, bare


def _samples(shard: Path) -> tuple[dict[str, Members], dict[str, Members]]:
    """The samples by WebDataset's rule, and those more whose pictures have dots within their names."""
    samples: dict[str, Members] = {}
    dotted: dict[str, Members] = {}
    for path, place in members_of(shard):
        stem, _, suffix = path.name.partition(".")
        first = spelled(path.parent / stem)
        samples.setdefault(first, {})[f".{suffix.lower()}"] = place
        last = path.suffix.lower()
        if f".{suffix.lower()}" not in _KNOWN and last in _KNOWN:
            dotted.setdefault(spelled(path.with_suffix("")), {})[last] = place
    return samples, {
        stem: members
        for stem, members in dotted.items()
        if SUFFIXES & members.keys()
        and (set(CAPTION_SUFFIXES) & members.keys() or not _has_picture(samples, stem))
    }


def _has_picture(samples: dict[str, Members], stem: str) -> bool:
    """Whether the sample that a dotted name belongs to by WebDataset's rule, as a mask does, has a picture."""
    path = PurePosixPath(stem)
    return bool(SUFFIXES & samples[str(path.parent / path.name.partition(".")[0])].keys())
