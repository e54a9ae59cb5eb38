"""Pictures of three classes, their caches for a plain VAE and a DA-VAE, and class-conditional runs of a second."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.training.dit_fixtures import write_base_vae, write_davae
from tests.training.settings_file import write_settings_file
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.dit.config import DitTrainingConfig
from training.dit.train import train_dit
from training.settings.yaml_config import read_config

CLASSES = ("ape", "bee", "cat")
TINY = {"blocks": 2, "width": 32, "heads": 2, "qk_norm": True}


def write_classes(folder: Path, pictures: int = 4, side: int = 16) -> Path:
    """A folder of a class each, of pictures brighter by class, and their list beside it."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for picture in range(pictures):
            pixels = random.integers(0, 86, (side, side, 3)) + 85 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{picture}.png")
    text = "\n".join(f"{name} a {name}, as people say" for name in CLASSES) + "\n"
    (folder.parent / "classes.txt").write_text(text, encoding="utf-8")
    return folder


def pack_classes(folder: Path, shards: Path) -> Path:
    """A tar file of each class, as ImageNet has them."""
    shards.mkdir()
    for name in CLASSES:
        with tarfile.open(shards / f"{name}.tar", "w") as tar:
            for path in sorted((folder / name).iterdir()):
                tar.add(path, arcname=f"{name}_{path.name}")
    return shards


def class_cache_settings(folder: Path, vae: Path, kind: str, name: str) -> dict[str, Any]:
    return {
        "source": {"folders": [str(folder / "classes")], "captions": "class"},
        "images": {"side": 16, "multiple": 8, "sizes": ["16x16"], "enlarge": True, "flips": True},
        "vae": {"kind": kind, "file": str(vae)},
        "text": {"kind": "classes", "source": str(folder / "classes.txt"), "t5_tokens": 0},
        "work": {"device": "cpu", "precision": "fp32", "batch_size": 4},
        "prompts": ["cat", "ape"],
        "output": {"folder": str(folder / name), "shard_pictures": 8},
    }


def read_class_cache_config(path: Path, settings: dict[str, Any], **changes: Any) -> CacheConfig:
    return read_config(CacheConfig, write_settings_file(path, settings, changes))


def write_class_stack(folder: Path) -> None:
    """A DA-VAE, its base, and caches of both: of the base of pictures of half the size, so that the grids are equal."""
    davae, base = write_davae(folder), write_base_vae(folder)
    write_classes(folder / "classes")
    for name, kind, vae, side in (
        ("base_cache", "base_vae", base, 8),
        ("cache", "davae", davae, 16),
    ):
        settings = class_cache_settings(folder, vae, kind, name)
        settings["images"] |= {"side": side, "sizes": [f"{side}x{side}"]}
        if kind == "base_vae":
            settings["images"]["multiple"] = 4
        make_cache(read_class_cache_config(folder / f"{name}.yaml", settings))


def write_class_run(
    folder: Path, name: str = "run", base: Path | None = None, **changes: Any
) -> Path:
    """The configuration of a run on the caches of `write_class_stack`: of the base's without `base`, else widened."""
    vae, cache = ("davae", "cache") if base else ("base_vae", "base_cache")
    settings = {
        "model": {
            "kind": "lightning",
            "base": str(base) if base else None,
            "vae": str(folder / f"{vae}.safetensors"),
            "train": "full",
            "lightning": dict(TINY),
        },
        "data": {"caches": [str(folder / cache)], "in_memory": True},
        "loss": {"shift": 1.0, "ramp_steps": 2 if base else 0},
        "optimizer": {"learning_rate": 1e-2, "ema": 0.9},
        "train": {"steps": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "seed": 5},
        "validation": {
            "samples_every": 0,
            "sampling_steps": 3,
            "shift": 3.0,
            "guidance": 2.0,
            "guided_below": 0.8,
        },
        "output": {
            "folder": str(folder / name),
            "name": "result",
            "checkpoint_every": 2,
            "keep": 1,
            "log_every": 1,
            "tensorboard": False,
            "dtype": "fp32",
        },
    }
    return write_settings_file(folder / f"{name}.yaml", settings, changes)


@pytest.fixture(scope="session")
def class_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `write_class_stack`'s files and a transformer over the base, `pretrained.safetensors`."""
    folder = tmp_path_factory.mktemp("classes")
    write_class_stack(folder)
    config = read_config(DitTrainingConfig, write_class_run(folder, "base_run", train__steps=6))
    written = train_dit(config)
    assert written is not None
    written.rename(folder / "pretrained.safetensors")
    return folder
