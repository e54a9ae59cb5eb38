"""Folders of a run that must not lie in one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import TrainingError
from ..folder_walk import links_below

_SIDE_BY_SIDE = "pictures"


def check_apart(training: Sequence[str], validation: Sequence[str], output: str) -> None:
    """Raise TrainingError when held-out pictures would be trained on, or when pictures a run writes would be read.

    A run writes side-by-side pictures below its output folder, so that must not lie in a folder that is searched. Links
    to folders count with what they lead to.
    """
    training, validation = _with_links(training), _with_links(validation)
    for trained in training:
        for held_out in validation:
            if _within(held_out, trained) or _within(trained, held_out):
                raise TrainingError(
                    f"data.train names {trained} and validation.folders {held_out}, which lie in one another, so "
                    "held-out pictures would be trained on: give them folders of their own."
                )
    for key, folders in (("data.train", training), ("validation.folders", validation)):
        for folder in folders:
            if _within(output, folder) or _within(str(Path(output) / _SIDE_BY_SIDE), folder):
                raise TrainingError(
                    f"output.folder is {output}, where {key} ({folder}) would read the pictures that the run writes: "
                    "choose another output.folder."
                )


def _with_links(folders: Sequence[str]) -> list[str]:
    links = (link for folder in folders for link in links_below(Path(folder).expanduser()))
    return [*folders, *map(str, links)]


def _within(inner: str, outer: str) -> bool:
    return Path(inner).expanduser().resolve().is_relative_to(Path(outer).expanduser().resolve())
