"""The stages of the class-conditional miniature, each a recipe of training/configs at a small size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from davae_core import mini
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.dit.config import DitTrainingConfig
from training.dit.train import train_dit
from training.errors import TrainingError
from training.sample.config import SampleConfig
from training.sample.draw import draw_samples
from training.settings.yaml_config import override, read_config

from .pictures import SIDE

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
BASE, WIDE = "base", "da"
"""The plain transformer over pictures of half the size, and the widened one over pictures of SIDE."""
Settings = dict[str, Any]


def cache(out: Path, name: str) -> None:
    """Latents of the pictures, of half the size through the base VAE for BASE."""
    side, kind = (SIDE // 2, "base_vae") if name == BASE else (SIDE, "davae")
    settings: Settings = {
        "source.folders": [str(out / "train")],
        "images.side": side,
        "images.sizes": [f"{side}x{side}"],
        "images.multiple": 32,
        "images.flips": False,
        "vae.kind": kind,
        "vae.file": str(mini.davae_path()),
        "text.source": str(out / "classes.txt"),
        "work.device": "cpu",
        "work.precision": "fp32",
        "prompts": ["red_star", "blue_square", "green_circle", "red_triangle"],
        "output.folder": str(out / f"cache_{name}"),
    }
    make_cache(read_config(CacheConfig, CONFIGS / "imagenet_cache.yaml", _told(settings)))


def train(out: Path, name: str, steps: int, more: Settings) -> Path:
    """The transformer over a cache: BASE from nothing, WIDE from it, widened by zeros."""
    wide = name == WIDE
    settings: Settings = {
        "model.base": str(out / f"run_{BASE}" / f"{BASE}.safetensors") if wide else None,
        "model.vae": str(mini.davae_path()),
        "model.lightning.blocks": 4,
        "model.lightning.width": 128,
        "model.lightning.heads": 4,
        "model.lightning.qk_norm": None if wide else True,
        "data.caches": [str(out / f"cache_{name}")],
        "data.in_memory": True,
        "data.workers": 0,
        "loss.ramp_steps": steps // 4 if wide else 0,
        "optimizer.kind": "muon",
        "optimizer.learning_rate": 1e-2 if wide else 2e-2,
        "optimizer.adamw_ratio": 0.1,
        "optimizer.warmup_steps": min(30, steps),
        "optimizer.final_ratio": 0.02,
        "optimizer.clip_norm": 1.0,
        "optimizer.ema": 0.99,
        "train.steps": steps,
        "train.batch_size": 16,
        "train.device": "cpu",
        "train.precision": "fp32",
        "validation.samples_every": 0,
        "validation.guidance": 2.0,
        "validation.sampling_steps": 30,
        "output.folder": str(out / f"run_{name}"),
        "output.name": name,
        "output.checkpoint_every": 100,
        "output.log_every": 20,
        "output.tensorboard": False,
        **more,
    }
    config = read_config(DitTrainingConfig, CONFIGS / "imagenet_dit.yaml", _told(settings))
    written = train_dit(config)
    if written is None:
        raise TrainingError("Stopped before the end: run the same command to go on.")
    return written


def sample(out: Path, name: str, count: int) -> Path:
    """`count` pictures of the classes in turn, as the transformer's file advises; the folder they are in."""
    folder = out / f"samples_{name}"
    settings: Settings = {
        "model.file": str(out / f"run_{name}" / f"{name}.safetensors"),
        "model.vae": str(mini.davae_path()),
        "samples.count": count,
        "samples.classes": "even",
        "work.device": "cpu",
        "work.precision": "fp32",
        "work.batch_size": 24,
        "output.folder": str(folder),
    }
    draw_samples(read_config(SampleConfig, CONFIGS / "imagenet_samples.yaml", _told(settings)))
    return folder


def _told(settings: Settings) -> tuple[str, ...]:
    return tuple(override(name, value) for name, value in settings.items())
