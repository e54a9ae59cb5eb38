"""Tiny caches, a tiny pretrained transformer and configurations that train on them in a second."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import save_base_vae, save_codec
from davae_core.files import file_hash, read_safetensors, write_safetensors
from davae_core.latents import LatentLayout
from davae_core.transformer.names import diffusers_to_stability
from tests.training.settings_file import write_settings_file
from training.cache.encoding import latents_of
from training.cache.head import CacheHead, write_head
from training.cache.latent_cache import LatentCache, write_texts
from training.cache.picture_check import UNKNOWN
from training.cache.shard_files import (
    CachedPicture,
    read_index,
    shard_path,
    write_index,
    write_shard,
)
from training.cache.text_states import TextStates
from training.dit.config import DitModelConfig, DitTrainingConfig, NewSizesConfig
from training.dit.inputs import open_caches
from training.dit.transformer import build_transformer
from training.settings.yaml_config import read_config

BACKBONE = KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4)
CHANNELS, CONTEXT, POOLED, WORDS = 16, 32, 24, 5
SIZES = {"blocks": 2, "dual_blocks": [0], "context_width": CONTEXT, "pooled_width": POOLED, "positions": 8}  # fmt: skip


def text(seed: int, t5_tokens: int = 0) -> TextStates:
    random = torch.Generator().manual_seed(seed)
    clip = torch.randn(1, WORDS, 8, generator=random)
    pooled = torch.randn(1, POOLED, generator=random)
    t5 = torch.randn(1, t5_tokens, CONTEXT, generator=random) if t5_tokens else None
    return TextStates(clip, t5, pooled)


def write_cache(
    folder: Path,
    vae: Path,
    detail: bool,
    sizes: list[tuple[int, int]],
    seed: int = 0,
    t5_tokens: int = 0,
    variants: int = 1,
) -> Path:
    """A cache of two shards with one picture per latent size given."""
    folder.mkdir(parents=True)
    layout, vae_hash = latents_of(str(vae), detail, "vae")
    half = -(-len(sizes) // 2)
    settings = {"text.kind": "mini", "text.source": "clip", "text.t5_tokens": t5_tokens}
    made_with = (layout, vae.name, vae_hash, settings, ("a circle", "a square"))
    write_head(folder, CacheHead(*made_with, shards=2, pictures=f"digest {seed}"))
    empty, *prompts = (text(number, t5_tokens) for number in (1000, 1001, 1002))
    write_texts(folder, empty, prompts)
    random = torch.Generator().manual_seed(seed)
    for number, part in enumerate((sizes[:half], sizes[half:])):
        pictures = [
            CachedPicture(f"{number}/{i}", (f"caption {seed}",), h, w, variants)
            for i, (h, w) in enumerate(part)
        ]
        latents = [
            torch.randn(variants, layout.channels, h, w, generator=random).half() for h, w in part
        ]
        texts = [text(seed * 100 + number * 10 + i, t5_tokens) for i in range(len(part))]
        write_shard(shard_path(folder, number), pictures, latents, texts, {})
    return folder


def rewrite_shard(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """A shard as if it had been made with the tensors that `change` changes in place."""
    tensors, _ = read_safetensors(path)
    change(tensors)
    write_safetensors(path, tensors, {})
    index = read_index(path)
    assert index is not None
    pictures = tuple(replace(picture, crc=UNKNOWN) for picture in index.pictures)
    write_index(path, replace(index, sha256=file_hash(path), pictures=pictures))


def write_base_vae(folder: Path) -> Path:
    """A small plain VAE."""
    torch.manual_seed(3)
    path = folder / "base_vae.safetensors"
    save_base_vae(path, KLAutoencoder(BACKBONE, CHANNELS), shift=0.25, scale=2.0)
    return path


def write_davae(folder: Path) -> Path:
    """A small DA-VAE."""
    torch.manual_seed(4)
    layout = LatentLayout(CHANNELS, CHANNELS, 2, 2, 0.25, 2.0)
    path = folder / "davae.safetensors"
    save_codec(path, DetailAlignedVAE(CodecConfig(layout=layout, backbone=BACKBONE)))
    return path


def write_base_transformer(folder: Path) -> Path:
    """A small "pretrained" transformer."""
    torch.manual_seed(5)
    sizes = NewSizesConfig(**{**SIZES, "dual_blocks": (0,)})
    config = DitModelConfig(vae="v", train="full", sizes=sizes)
    model = build_transformer(config, None, CHANNELS, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    path = folder / "base_transformer.safetensors"
    write_safetensors(path, diffusers_to_stability(model.state_dict()), {})
    return path


def write_davae_cache(folder: Path, davae: Path) -> Path:
    """Latents of two sizes, and a cache of others to hold out beside it, which `held_out_of` names."""
    cache = folder / "cache"
    write_cache(held_out_of(cache), davae, True, [(4, 4)] * 3, seed=9)
    return write_cache(cache, davae, True, [(4, 4)] * 5 + [(4, 6)])


def opened(folder: Path, in_memory: bool = True) -> LatentCache:
    """A cache in a folder, as a run opens it."""
    return open_caches([str(folder)], in_memory, room=folder)[0]


def copy_of(cache: Path) -> str:
    """A second folder with a cache, for a run that shall be measured on what it is trained on."""
    return str(shutil.copytree(cache, cache.with_name(f"{cache.name}_copy")))


def held_out_of(cache: Path) -> Path:
    """The cache that is held out where `cache` is trained on."""
    return cache.with_name(f"{cache.name}_val")


def write_settings(
    folder: Path, davae: Path, cache: Path, base: Path, name: str = "run", **changes: Any
) -> Path:
    """A configuration of an adapter in `folder`; keywords `section__key=value` change it."""
    steps = changes.get("train__steps", 4)
    settings: dict[str, Any] = {
        "model": {
            "base": str(base),
            "sizes": SIZES,
            "vae": str(davae),
            "lora": {"rank": 4, "alpha": 8},
        },
        "data": {"caches": [str(cache)], "in_memory": True},
        "loss": {"ramp_steps": min(4, steps)},
        "optimizer": {"learning_rate": 1e-2, "ema": 0.9},
        "train": {"steps": steps, "batch_size": 2, "device": "cpu", "precision": "fp32", "seed": 5},
        "validation": {
            "cache": str(held_out_of(cache)),
            "at_start": False,
            "every": 2,
            "pictures": 3,
            "samples_every": 4,
            "sampling_steps": 2,
        },
        "output": {
            "folder": str(folder / name),
            "name": "result",
            "checkpoint_every": 2,
            "log_every": 1,
            "tensorboard": False,
            "dtype": "fp32",
        },
    }
    return write_settings_file(folder / f"{name}.yaml", settings, changes)


@pytest.fixture
def base_vae(tmp_path: Path) -> Path:
    return write_base_vae(tmp_path)


@pytest.fixture
def davae(tmp_path: Path) -> Path:
    return write_davae(tmp_path)


@pytest.fixture
def base_transformer(tmp_path: Path) -> Path:
    return write_base_transformer(tmp_path)


@pytest.fixture
def davae_cache(tmp_path: Path, davae: Path) -> Path:
    return write_davae_cache(tmp_path, davae)


DitConfig = Callable[..., DitTrainingConfig]


@pytest.fixture
def write_dit_config(
    tmp_path: Path, davae: Path, davae_cache: Path, base_transformer: Path
) -> Callable[..., Path]:
    """`write_settings` on the files of this test."""
    return partial(write_settings, tmp_path, davae, davae_cache, base_transformer)


@pytest.fixture
def dit_config(write_dit_config: Callable[..., Path]) -> DitConfig:
    """Like `write_dit_config`, read back."""

    def make(name: str = "run", **changes: Any) -> DitTrainingConfig:
        return read_config(DitTrainingConfig, write_dit_config(name, **changes))

    return make
