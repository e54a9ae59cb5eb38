"""The trainings behind the arms: codecs, caches of their latents, adapters. Each is skipped when it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training.mini.pictures import write_prompt_scenes
from training.settings.yaml_config import override

from .arms import ALIGNED, HELD_OUT_SCENES, HELD_OUT_SEED, RAMP_STEPS, SIDE, Arm, Codec, Stack

CONFIGS = Path("training/configs")


class TrainingFailed(RuntimeError):
    """A training, a cache job or a measurement stopped with an error."""


def write_scenes(out: Path, scenes: int, held_out: int) -> None:
    """The captioned pictures that every arm is trained on, and those that errors are taken on."""
    write_prompt_scenes(out / "scenes", scenes, SIDE, 0, keep=True)
    write_prompt_scenes(out / "held_out", held_out, SIDE, HELD_OUT_SEED, keep=True)


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
    train = [str(pictures / "train" / part) for part in ("scenes", "photographs")]
    _training(
        file.parent,
        ["vae", str(CONFIGS / "mini_davae.yaml")],
        [
            override("model.base_vae", str(stack.base_vae)),
            override("loss.alignment.weight", codec.weight),
            override("data.train", train),
            override("validation.folders", [str(pictures / "val")]),
            override("output.folder", str(file.parent)),
            override("output.name", file.stem),
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
                override("source.folders", [str(out / folder.name)]),
                override("vae.file", str(codec_file(out, stack, codec))),
                override("text.source", str(stack.clip)),
                override("work.precision", "bf16"),
                override("output.folder", str(folder)),
            ],
        )
        done.touch()


def adapter_file(out: Path, arm: Arm, seed: int) -> Path:
    """Where an arm's adapter is."""
    return out / "adapters" / f"{arm.name}_{seed}" / "adapter.safetensors"


def adapter_settings(out: Path, stack: Stack, arm: Arm, seed: int, steps: int) -> list[str]:
    """What is changed in mini_adapter.yaml: the ablation's length and files, then what sets the arm apart."""
    training, held_out = cache_folders(out, arm.codec)
    file = adapter_file(out, arm, seed)
    return [
        override("model.base", str(stack.transformer)),
        override("model.vae", str(codec_file(out, stack, arm.codec))),
        override("data.caches", [str(training)]),
        override("train.seed", seed),
        override("train.steps", steps),
        override("loss.ramp_steps", RAMP_STEPS),
        override("validation.cache", str(held_out)),
        override("validation.every", 100),
        override("validation.pictures", HELD_OUT_SCENES),
        override("validation.samples_every", 0),
        override("output.folder", str(file.parent)),
        override("output.name", file.stem),
        override("output.checkpoint_every", steps),
        *arm.settings,
    ]


def train_adapter(
    out: Path, stack: Stack, arm: Arm, seed: int, steps: int, settings: Sequence[str]
) -> None:
    """Train an arm's adapter of one seed."""
    file = adapter_file(out, arm, seed)
    if not file.is_file():
        wanted = [*adapter_settings(out, stack, arm, seed, steps), *settings]
        _training(file.parent, ["dit", str(CONFIGS / "mini_adapter.yaml")], wanted)


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
        raise TrainingFailed(
            f"A run did not finish, and {log} says why: mend that and run the same command again."
        )


def _training(folder: Path, command: Sequence[str], settings: Sequence[str]) -> None:
    arguments = ["-m", "training", *command]
    for setting in settings:
        arguments += ["--set", setting]
    run_process(folder / "output.txt", arguments)
