"""`davae evaluate`: subjects one after the other, each a set of pictures in the end, and the report of them all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..files import write_text
from ..format import KIND_CODEC
from ..reading.plain_text import SentenceError
from .captions import Captions
from .drawing import Sampling, Stack, draw
from .names import REPORT
from .networks import WITHOUT, NetworkFiles, Networks, load_networks
from .pictures import PictureSet, captions_beside, pictures_below
from .progress import Progress
from .rebuilding import rebuild
from .report import Result, as_json, best, default_score, result_of
from .scores import Reference, judge
from .subjects import Subject

_NETWORK = {
    "fid": "inception",
    "rfid": "inception",
    "kid": "inception",
    "is": "inception",
    "precision": "inception",
    "recall": "inception",
    "clip": "clip",
    "lpips": "lpips",
}
"""What a score needs."""


@dataclass(frozen=True)
class Choices:
    """What `davae evaluate` was asked for beside subjects and networks.

    `real`: the folder of real pictures; `square`: the side to which their middle is brought, None to leave them;
    `rebuilt`: pictures of a folder are the real ones rebuilt, name by name;
    `captions`, `stack`, `sampling`: what adapters draw, with what and how; `best_by`: a score, None for the first.
    """

    output: Path
    real: Path | None
    square: int | None
    rebuilt: bool
    captions: Captions | None
    stack: Stack | None
    sampling: Sampling
    tiled: bool
    best_by: str | None


@dataclass(frozen=True)
class Findings:
    """The results, and of several the score and the name of the best."""

    results: list[Result]
    best: tuple[str, str] | None


def evaluate(
    subjects: Sequence[Subject],
    files: NetworkFiles,
    choices: Choices,
    device: str,
    progress: Progress,
) -> Findings:
    """Judge the subjects; REPORT in `choices.output` is written anew after each of them.

    Raises CheckpointError, ImageError or SentenceError, before anything is drawn where that can be known.
    """
    _check(subjects, files, choices)
    real = (
        None
        if choices.real is None
        else replace(pictures_below(choices.real), square=choices.square)
    )
    networks = load_networks(files, device)
    reference = None if real is None else Reference(real, networks, progress)
    results: list[Result] = []
    for subject in subjects:
        results.append(_judge_one(subject, choices, reference, networks, device, progress))
        found = Findings(results, _chosen(results, choices.best_by))
        about_real = None if real is None or choices.real is None else _about(choices.real, real)
        told = as_json(results, about_real, networks.told, found.best)
        write_text(choices.output / REPORT, json.dumps(told, indent=2) + "\n")
    if choices.best_by is not None and found.best is None and len(results) > 1:
        raise SentenceError(
            f"Nothing that was judged has the score {choices.best_by}, so there is no best by it: "
            f"{choices.output / REPORT} has the others."
        )
    return found


def _judge_one(
    subject: Subject,
    choices: Choices,
    reference: Reference | None,
    networks: Networks,
    device: str,
    progress: Progress,
) -> Result:
    folder = choices.output / subject.name
    if subject.draws:
        assert choices.captions is not None and choices.stack is not None
        drawn = draw(subject, choices.captions, choices.stack, choices.sampling, folder, progress)
        found = judge(
            subject.name, drawn.pictures, reference, drawn.captions, False, networks, progress
        )
        return result_of(subject, len(drawn.pictures.files), drawn.made_with, found)
    if subject.kind == KIND_CODEC:
        assert reference is not None
        real = reference.pictures
        rebuilt, cut, made_with = rebuild(subject, real, choices.tiled, device, folder, progress)
        against = Reference(cut, networks, progress)
        found = judge(
            subject.name, rebuilt, against, captions_beside(real), True, networks, progress
        )
        return result_of(subject, len(rebuilt.files), made_with, found)
    pictures = pictures_below(subject.path)
    if choices.rebuilt and reference is not None:
        _require_pairs(pictures, reference.pictures)
    captions = captions_beside(pictures)
    found = judge(subject.name, pictures, reference, captions, choices.rebuilt, networks, progress)
    return result_of(subject, len(pictures.files), {}, found)


def _check(subjects: Sequence[Subject], files: NetworkFiles, choices: Choices) -> None:
    """Raise SentenceError for what is missing, before hours are spent on what is not."""
    for subject in subjects:
        if subject.draws and (choices.captions is None or choices.stack is None):
            raise SentenceError(
                f"{subject.path} draws captions: name a file of them, or a cache, with --captions, and its DA-VAE with "
                "--vae."
            )
        if subject.kind == KIND_CODEC and choices.real is None:
            raise SentenceError(
                f"{subject.path} is a DA-VAE: name a folder of photographs for it to rebuild with --real."
            )
    if choices.rebuilt and choices.real is None:
        raise SentenceError("--rebuilt compares with real pictures: name their folder with --real.")
    network = _NETWORK.get(choices.best_by or "")
    if network is not None and getattr(files, network) is None:
        raise SentenceError(f"--best-by {choices.best_by} cannot be: {WITHOUT[network]}.")


def _require_pairs(pictures: PictureSet, real: PictureSet) -> None:
    for name, path in pictures.files.items():
        if name not in real.files:
            raise SentenceError(
                f"{path} is no picture of --real, whose pictures have other names: leave --rebuilt out, or give both "
                "the same names."
            )


def _about(folder: Path, real: PictureSet) -> dict[str, Any]:
    square = {} if real.square is None else {"square": real.square}
    return {"folder": folder.resolve().name, "pictures": len(real.files), **square}


def _chosen(results: Sequence[Result], by: str | None) -> tuple[str, str] | None:
    """The score to choose by and the name of the best; None where there is nothing to choose among."""
    by = by or default_score(results)
    found = None if by is None or len(results) < 2 else best(results, by)
    return None if by is None or found is None else (by, found.name)
