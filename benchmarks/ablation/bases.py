"""The bases of a seed's detail passes: drawn once by the untouched transformer, the same for every arm."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from davae_core.files import read_safetensors, write_safetensors
from training.mini.prompt_scenes import caption

from .arms import BASE_SIDE, DRAWN_SEED, Sampling
from .drawing import caption_encoder, unadapted
from .measuring import scenes
from .stack import Stack


def bases_file(out: Path, seed: int, pictures: int) -> Path:
    """Where a seed's bases are kept."""
    return out / "bases" / f"{seed}_{pictures}.safetensors"


def draw_bases(out: Path, stack: Stack, seed: int, pictures: int, sampling: Sampling) -> None:
    """Draw the base of every caption and keep its latent, unless that is done."""
    path = bases_file(out, seed, pictures)
    if path.is_file():
        return
    text = caption_encoder(stack)
    drawer = unadapted(stack, BASE_SIDE, text, sampling, sampling.base_steps)
    latents = drawer.latents([caption(scene) for scene in scenes(DRAWN_SEED, pictures)], seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {"bases": latents}, {})


def read_bases(out: Path, seed: int, pictures: int) -> Tensor:
    """Latents [N, C, h, w] in model space, as `draw_bases` kept them. Raises CheckpointError."""
    return read_safetensors(bases_file(out, seed, pictures))[0]["bases"]
