"""What is judged: a folder of pictures, a codec, an adapter or a merged model; a run is all results that it left."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..files import CheckpointError, file_hash, read_shapes
from ..format import KIND_ADAPTER, KIND_CODEC, KIND_MERGED, read_metadata
from ..inspection import inspect_file
from ..reading.plain_text import SentenceError, is_plain, plain

Kind = Literal["pictures", "vae", "adapter", "merged"]
CHECKPOINTS = "checkpoints"
_STEP = re.compile(r"step_\d{8}")
_JUDGED = (KIND_CODEC, KIND_ADAPTER, KIND_MERGED)
_LIVE = "_live"
"""How the file of weights that are not averaged ends."""


@dataclass(frozen=True)
class Subject:
    """A folder of pictures or a file of ours, and the name under which it stands in the report."""

    name: str
    kind: Kind
    path: Path

    @cached_property
    def sha256(self) -> str | None:
        """Of the file; a folder has none."""
        return None if self.kind == "pictures" else file_hash(self.path)

    @property
    def draws(self) -> bool:
        """Whether it draws captions."""
        return self.kind in (KIND_ADAPTER, KIND_MERGED)


def subjects_of(paths: Iterable[Path]) -> list[Subject]:
    """What the paths name, in order; a run's folder is every adapter beside its checkpoints, averaged, or its codec.

    Raises CheckpointError for a file that cannot be judged and SentenceError where two would have one name.
    """
    found: list[Subject] = []
    for path in paths:
        found += _of_run(path) if (path / CHECKPOINTS).is_dir() else [_of(path)]
    seen: dict[str, Path] = {}
    for subject in found:
        if subject.name in seen:
            raise SentenceError(
                f"{seen[subject.name]} and {subject.path} would both be called {subject.name}: rename one."
            )
        seen[subject.name] = subject.path
    return found


def _of(path: Path) -> Subject:
    if path.is_dir():
        return Subject(_name(path.resolve().name), "pictures", path)
    step = path.parent.name
    name = f"{step}_{path.stem}" if _STEP.fullmatch(step) else path.stem
    return Subject(_name(name), kind_of(path), path)


def _name(text: str) -> str:
    if not is_plain(text) or text.startswith("."):
        raise SentenceError(f"{plain(text)} cannot stand in a report: give it a plain name.")
    return text


def kind_of(path: Path) -> Kind:
    """What a file says that it is. Raises CheckpointError unless it is a DA-VAE, an adapter or a merged model."""
    found = inspect_file(path)
    if found.kind not in _JUDGED:
        raise CheckpointError(
            f"{path} cannot be judged ({found.lines[0].partition(': ')[0]}): give a folder of pictures, a DA-VAE, an "
            "adapter, a merged DA-VAE model or a run's folder."
        )
    return found.kind  # type: ignore[return-value]


def _of_run(folder: Path) -> list[Subject]:
    steps = sorted(step for step in (folder / CHECKPOINTS).iterdir() if _STEP.fullmatch(step.name))
    found = [subject for step in steps for subject in _results_in(step)]
    known = {subject.sha256 for subject in found}
    found += [subject for subject in _results_in(folder) if subject.sha256 not in known]
    if not found:
        raise SentenceError(
            f"{folder} is a run without a result yet: wait for one, or name a file."
        )
    return found


def _results_in(folder: Path) -> list[Subject]:
    """The results that a run left in a folder; the checkpoint's own weights say nothing of themselves."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        described = read_metadata(path, read_shapes(path)[1])
        if described.get("kind") in _JUDGED and not path.stem.endswith(_LIVE):
            found.append(_of(path))
    return found
