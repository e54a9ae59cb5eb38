"""The trainings behind the arms: codecs, caches of their latents, adapters. Each is skipped when it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training.mini.pictures import write_prompt_scenes
from training.pictures import scan_folders
from training.settings.yaml_config import override

from .arms import (
    ALIGNED,
    HELD_OUT_SCENES,
    HELD_OUT_SEED,
    PRECISION,
    SIDE,
    Adapter,
    Codec,
    LearnedCodec,
    PackedCodec,
)
from .stack import Stack

CONFIGS = Path("training/configs")
RECIPES = {"joint": CONFIGS / "mini_adapter.yaml", "detail": CONFIGS / "mini_detail.yaml"}
"""What an adapter of each mode is trained by."""
_PACKED_FROM = 200
"""First pictures of each kind that a packed codec is fitted to."""


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


def make_codec(
    out: Path, stack: Stack, codec: Codec, pictures: Path, settings: Sequence[str]
) -> None:
    """Train or pack a codec on the codec's own pictures, unless that is done."""
    file = codec_file(out, stack, codec)
    if file.is_file():
        return
    train = [str(pictures / "train" / part) for part in ("scenes", "photographs")]
    if isinstance(codec, PackedCodec):
        _pack(file, stack, codec, train)
    else:
        _train_codec(file, stack, codec, train, pictures / "val", settings)


def _train_codec(
    file: Path,
    stack: Stack,
    codec: LearnedCodec,
    train: Sequence[str],
    held_out: Path,
    settings: Sequence[str],
) -> None:
    """mini_davae.yaml with another weight of the alignment loss."""
    _training(
        file.parent,
        ["vae", str(CONFIGS / "mini_davae.yaml")],
        [
            override("model.base_vae", str(stack.davae)),
            override("loss.alignment.weight", codec.weight),
            override("data.train", train),
            override("validation.folders", [str(held_out)]),
            override("output.folder", str(file.parent)),
            override("output.name", file.stem),
            *settings,
        ],
    )


def _pack(file: Path, stack: Stack, codec: PackedCodec, train: Sequence[str]) -> None:
    """`davae pack`."""
    found = scan_folders(train, "--codec-pictures")
    fitted_to = [str(path) for part in found for path in part.paths[:_PACKED_FROM]]
    command = ["-m", "davae_core", "pack", str(stack.davae), *fitted_to, "-o", str(file)]
    channels = ["--detail-channels", str(codec.detail_channels), "--device", "cpu"]
    file.parent.mkdir(parents=True, exist_ok=True)
    run_process(file.parent / "output.txt", [*command, *channels])


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
                override("work.precision", PRECISION),
                override("output.folder", str(folder)),
            ],
        )
        done.touch()


def adapter_file(out: Path, adapter: Adapter, seed: int) -> Path:
    """Where an adapter is."""
    return out / "adapters" / f"{adapter.name}_{seed}" / "adapter.safetensors"


def adapter_settings(out: Path, stack: Stack, adapter: Adapter, seed: int, steps: int) -> list[str]:
    """What is changed in the recipe: the ablation's length and files, then what sets the adapter apart."""
    training, held_out = cache_folders(out, adapter.codec)
    file = adapter_file(out, adapter, seed)
    # w(n) rises over a quarter of the run; a detail pass has none.
    ramp = [override("loss.ramp_steps", steps // 4)] if adapter.mode == "joint" else []
    return [
        override("model.base", str(stack.transformer)),
        override("model.vae", str(codec_file(out, stack, adapter.codec))),
        override("data.caches", [str(training)]),
        override("train.seed", seed),
        override("train.precision", PRECISION),
        override("train.steps", steps),
        *ramp,
        override("validation.cache", str(held_out)),
        override("validation.every", 100),
        override("validation.pictures", HELD_OUT_SCENES),
        override("validation.samples_every", 0),
        override("output.folder", str(file.parent)),
        override("output.name", file.stem),
        override("output.checkpoint_every", steps),
        *adapter.settings,
    ]


def train_adapter(
    out: Path, stack: Stack, adapter: Adapter, seed: int, steps: int, settings: Sequence[str]
) -> None:
    """Train an adapter of one seed, unless that is done."""
    file = adapter_file(out, adapter, seed)
    if not file.is_file():
        wanted = [*adapter_settings(out, stack, adapter, seed, steps), *settings]
        _training(file.parent, ["dit", str(RECIPES[adapter.mode])], wanted)


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
