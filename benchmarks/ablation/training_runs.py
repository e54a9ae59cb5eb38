"""The trainings behind the arms: codecs, caches of their latents, adapters. Each is skipped when it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training.miniature import write_prompt_scenes

from .arms import (
    ALIGNED,
    HELD_OUT_SCENES,
    HELD_OUT_SEED,
    RAMP_STEPS,
    SIDE,
    Arm,
    Codec,
    Stack,
)

CONFIGS = Path("training/configs")


class TrainingFailed(RuntimeError):
    """A training, a cache job or a measurement stopped with an error."""


def write_scenes(out: Path, scenes: int, held_out: int) -> None:
    """The captioned pictures that every arm is trained on, and those that training errors are taken on."""
    for folder, wanted, seed in (
        (out / "scenes", scenes, 0),
        (out / "held_out", held_out, HELD_OUT_SEED),
    ):
        if len(list(folder.glob("*.txt"))) < wanted:
            write_prompt_scenes(folder, wanted, SIDE, seed)


def codec_file(out: Path, stack: Stack, codec: Codec) -> Path:
    """Where a codec is; the aligned one is the stack's own DA-VAE."""
    if codec == ALIGNED:
        return stack.davae
    return out / "codecs" / codec.name / "davae.safetensors"


def train_codec(
    out: Path, stack: Stack, codec: Codec, pictures: Path, settings: Sequence[str]
) -> None:
    """mini_davae.yaml with another weight of the alignment loss, on the codec's own pictures."""
    file = codec_file(out, stack, codec)
    if file.is_file():
        return
    _training(
        file.parent,
        ["vae", str(CONFIGS / "mini_davae.yaml")],
        [
            f"model.base_vae={stack.base_vae}",
            f"loss.alignment.weight={codec.weight}",
            f"data.train=[{pictures / 'train' / 'scenes'},{pictures / 'train' / 'photographs'}]",
            f"validation.folders=[{pictures / 'val'}]",
            f"output.folder={file.parent}",
            "output.name=davae",
            *settings,
        ],
    )


def cache_folders(out: Path, codec: Codec) -> tuple[Path, Path]:
    """Of the training scenes, and of the held-out ones."""
    folder = out / "caches" / codec.name
    return folder / "scenes", folder / "held_out"


def make_caches(out: Path, stack: Stack, codec: Codec) -> None:
    """Latents of all scenes by one codec."""
    for folder in cache_folders(out, codec):
        done = folder / "done"
        if done.is_file():
            continue
        _training(
            folder,
            ["cache", str(CONFIGS / "mini_cache_davae.yaml")],
            [
                f"source.folders=[{out / folder.name}]",
                f"vae.file={codec_file(out, stack, codec)}",
                f"text.source={stack.clip}",
                "work.precision=bf16",
                f"output.folder={folder}",
            ],
        )
        done.touch()


def adapter_file(out: Path, arm: Arm, seed: int) -> Path:
    """Where an arm's adapter is."""
    return out / "adapters" / f"{arm.name}_{seed}" / "adapter.safetensors"


def train_adapter(
    out: Path, stack: Stack, arm: Arm, seed: int, steps: int, settings: Sequence[str]
) -> None:
    """mini_adapter.yaml at the ablation's length, with what sets the arm apart."""
    file = adapter_file(out, arm, seed)
    if file.is_file():
        return
    training, held_out = cache_folders(out, arm.codec)
    _training(
        file.parent,
        ["dit", str(CONFIGS / "mini_adapter.yaml")],
        [
            f"model.base={stack.transformer}",
            f"model.vae={codec_file(out, stack, arm.codec)}",
            f"data.caches=[{training}]",
            f"validation.cache={held_out}",
            f"train.seed={seed}",
            f"train.steps={steps}",
            f"loss.ramp_steps={RAMP_STEPS}",
            "validation.every=100",
            f"validation.pictures={HELD_OUT_SCENES}",
            "validation.samples_every=0",
            f"output.folder={file.parent}",
            "output.name=adapter",
            f"output.checkpoint_every={steps}",
            *settings,
            *arm.settings,
        ],
    )


def run_process(log: Path, arguments: Sequence[str]) -> None:
    """Run Python in its own process on one thread; what it says goes to `log`. Raises TrainingFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        code = subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if code:
        raise TrainingFailed(f"A run did not finish: {log} says why.")


def _training(folder: Path, command: Sequence[str], settings: Sequence[str]) -> None:
    arguments = ["-m", "training", *command]
    for setting in settings:
        arguments += ["--set", setting]
    run_process(folder / "output.txt", arguments)
