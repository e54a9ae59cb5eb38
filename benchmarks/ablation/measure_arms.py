"""Draw with one adapter or reference, measure it and keep what was found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from davae_core.images import write_image
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.mini.prompt_scenes import PromptScene, caption

from .anchors import real_through
from .arms import DRAWN_SEED, Arm, Reference, Sampling
from .bases import read_bases
from .drawing import BATCH, adapted, caption_encoder, decoded, decoder_of, unadapted
from .measuring import look, measures, real_pictures, scenes
from .results import Result, result, write_result
from .stack import Stack
from .training_runs import adapter_file, codec_file

SHOWN = 8
"""First pictures of every arm that are kept to look at."""


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where a result is kept."""
    return out / "results" / f"{name}_{seed}.json"


def finished_seeds(out: Path, name: str) -> list[int]:
    """The seeds of which there is a result."""
    found = (re.fullmatch(rf"{name}_(\d+)", path.stem) for path in (out / "results").glob("*.json"))
    return sorted(int(match[1]) for match in found if match)


def picture_file(out: Path, name: str, seed: int) -> Path:
    """Where the first SHOWN pictures are kept, in a row."""
    return out / "pictures" / f"{name}_{seed}.png"


def measure(
    out: Path, stack: Stack, found: Arm | Reference, seed: int, pictures: int, sampling: Sampling
) -> Result:
    """Draw `pictures` pictures, measure them and keep the result and the first ones."""
    wanted = scenes(DRAWN_SEED, pictures)
    through, errors = None, None
    if isinstance(found, Arm):
        through = real_through(out, stack, found.adapter.codec, pictures)
        errors = last_errors(adapter_file(out, found.adapter, seed).parent)
        drawn = _by_arm(out, stack, found, seed, wanted, sampling)
    else:
        drawn = _by_reference(out, stack, found, seed, wanted, sampling)
    shown: list[Tensor] = []
    seen = look(_keeping(drawn, shown), wanted, f"{found.name} {seed}")
    told = result(seed, measures(seen, real_pictures(out, pictures), through), errors)
    path = picture_file(out, found.name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.cat(list(torch.cat(shown)[:SHOWN]), dim=2)[None])
    write_result(result_file(out, found.name, seed), told)
    return told


def last_errors(run: Path) -> dict[str, float]:
    """The held-out errors of a finished adapter. Raises TrainingError when the last step was not validated."""
    last = read_log(run, "train")[-1]["step"]
    errors = read_log(run, "validation")[-1]
    if errors["step"] != last:
        raise TrainingError(
            f"{run / 'log.jsonl'} has no validation of step {last}: remove that folder and run the ablation again."
        )
    return errors


def _by_arm(
    out: Path, stack: Stack, arm: Arm, seed: int, wanted: list[PromptScene], sampling: Sampling
) -> Iterator[Tensor]:
    bases = read_bases(out, seed, len(wanted)) if arm.drawn == "detail" else None
    drawer = adapted(
        stack,
        adapter_file(out, arm.adapter, seed),
        codec_file(out, stack, arm.adapter.codec),
        caption_encoder(stack),
        sampling,
        bases,
    )
    return drawer.draw([caption(scene) for scene in wanted], seed)


def _by_reference(
    out: Path,
    stack: Stack,
    reference: Reference,
    seed: int,
    wanted: list[PromptScene],
    sampling: Sampling,
) -> Iterator[Tensor]:
    if reference.base_pass:
        decoder = decoder_of(stack.davae, False)
        bases = read_bases(out, seed, len(wanted))
        starts = range(0, len(bases), BATCH)
        return (decoded(decoder, bases[first : first + BATCH]) for first in starts)
    text = caption_encoder(stack)
    drawer = unadapted(stack, reference.side, text, sampling, sampling.steps)
    return drawer.draw([caption(scene) for scene in wanted], seed)


def _keeping(batches: Iterator[Tensor], shown: list[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        if sum(map(len, shown)) < SHOWN:
            shown.append(batch)
        yield batch
