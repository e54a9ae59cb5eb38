"""Draw with one adapter or reference and measure it: ``python -m benchmarks.ablation.measure_arms OUT ARM SEED``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from davae_core.images import write_image
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.mini.prompt_scenes import caption

from .arms import ARMS, DRAWN_SEED, PICTURES, REFERENCES, Arm, Reference, Sampling, Stack, stack_of
from .drawing import Drawer, adapted, caption_encoder, unadapted
from .measuring import look, measures, real_pictures, scenes
from .results import Result, result, write_result
from .training_runs import adapter_file, codec_file

SHOWN = 8
"""First pictures of every arm that are kept to look at."""


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where a result is kept."""
    return out / "results" / f"{name}_{seed}.json"


def picture_file(out: Path, name: str, seed: int) -> Path:
    """Where the first SHOWN pictures are kept, in a row."""
    return out / "pictures" / f"{name}_{seed}.png"


def measure(
    out: Path, stack: Stack, arm: Arm | Reference, seed: int, pictures: int, sampling: Sampling
) -> Result:
    """Draw `pictures` pictures, measure them and keep the result and the first ones."""
    wanted = scenes(DRAWN_SEED, pictures)
    drawer = _drawer(out, stack, arm, seed, sampling)
    shown: list[Tensor] = []
    batches = _keeping(drawer.draw([caption(scene) for scene in wanted], seed), shown)
    seen = look(batches, wanted, f"{arm.name} {seed}")
    errors = None
    if isinstance(arm, Arm):
        errors = last_errors(adapter_file(out, arm, seed).parent)
    found = result(seed, measures(seen, real_pictures(out, pictures)), errors)
    path = picture_file(out, arm.name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.cat(list(torch.cat(shown)[:SHOWN]), dim=2)[None])
    write_result(result_file(out, arm.name, seed), found)
    return found


def last_errors(run: Path) -> dict[str, float]:
    """The held-out errors of a finished adapter. Raises TrainingError when the last step was not validated."""
    last = read_log(run, "train")[-1]["step"]
    errors = read_log(run, "validation")[-1]
    if errors["step"] != last:
        raise TrainingError(
            f"{run / 'log.jsonl'} has no validation of step {last}: remove that folder and run the ablation again."
        )
    return errors


def _drawer(out: Path, stack: Stack, arm: Arm | Reference, seed: int, sampling: Sampling) -> Drawer:
    text = caption_encoder(stack)
    if isinstance(arm, Reference):
        return unadapted(stack, arm, text, sampling)
    codec = codec_file(out, stack, arm.codec)
    return adapted(stack, adapter_file(out, arm, seed), codec, text, sampling)


def _keeping(batches: Iterator[Tensor], shown: list[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        if sum(map(len, shown)) < SHOWN:
            shown.append(batch)
        yield batch


def main() -> None:
    """Measure one arm of one seed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation.measure_arms", description=__doc__
    )
    parser.add_argument("out", type=Path, help="folder of the ablation")
    parser.add_argument("arm", choices=[arm.name for arm in (*ARMS, *REFERENCES)])
    parser.add_argument("seed", type=int)
    parser.add_argument("--stack", type=Path, help="folder of another miniature")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    given = parser.parse_args()
    arm = {known.name: known for known in (*ARMS, *REFERENCES)}[given.arm]
    measure(given.out, stack_of(given.stack), arm, given.seed, given.pictures, Sampling())


if __name__ == "__main__":
    main()
