"""What is measured on a set of pictures, and the real pictures it is measured against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from benchmarks.scene_checker import check
from davae_core.files import read_safetensors, write_safetensors
from davae_core.images import from_bytes, image_to_pil
from training.mini.prompt_scenes import PromptScene, compose, render

from .arms import DRAWN_SEED, SIDE
from .drawing import BATCH
from .features import RandomFeatures
from .frechet import frechet_distance, moments, standardised
from .sharpness import high_frequency_energy


@dataclass(frozen=True)
class Seen:
    """Of N pictures: features [N, D], and of each its high-frequency energy and whether it shows its caption [N]."""

    features: Tensor
    energy: Tensor
    accurate: Tensor


@dataclass(frozen=True)
class Measures:
    """Frechet distance, share of pictures that show their caption, and sharpness as a multiple of real pictures'."""

    fd: float
    prompt_accuracy: float
    sharpness: float


def scenes(first: int, count: int) -> list[PromptScene]:
    """Scenes `first` to `first + count - 1`."""
    return [compose(first + number) for number in range(count)]


def rendered(wanted: Sequence[PromptScene]) -> Iterator[Tensor]:
    """The real pictures of scenes, in batches [B, 3, SIDE, SIDE] in [-1, 1]."""
    for first in range(0, len(wanted), BATCH):
        drawn = np.stack([render(scene, SIDE) for scene in wanted[first : first + BATCH]])
        yield _from_bytes(drawn)


def _from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    return from_bytes(rearrange(torch.from_numpy(pixels), "b h w c -> b c h w"))


def look(batches: Iterable[Tensor], wanted: Sequence[PromptScene], name: str) -> Seen:
    """Look at pictures of scenes, given in order in batches [B, 3, SIDE, SIDE] in [-1, 1]."""
    extract = RandomFeatures()
    features, energy, accurate = [], [], []
    with tqdm(total=len(wanted), desc=name, unit="picture") as bar:
        for batch in batches:
            # What a viewer gets is bytes.
            pixels = np.stack([np.asarray(image_to_pil(picture)) for picture in batch])
            shown = _from_bytes(pixels)
            features.append(extract(shown))
            energy.append(high_frequency_energy(shown))
            for picture in pixels:
                accurate.append(check(picture, wanted[len(accurate)]).accurate)
            bar.update(len(batch))
    return Seen(torch.cat(features), torch.cat(energy), torch.tensor(accurate))


def measures(seen: Seen, real: Seen) -> Measures:
    """Compare pictures with real ones."""
    found, wanted = (moments(standardised(part.features, real.features)) for part in (seen, real))
    return Measures(
        fd=frechet_distance(found, wanted),
        prompt_accuracy=float(seen.accurate.double().mean()),
        sharpness=float(seen.energy.mean() / real.energy.mean()),
    )


def real_pictures(folder: Path, count: int) -> Seen:
    """What is seen in the real pictures of the scenes that captions are taken from; kept in `folder`."""
    path = folder / f"real_{count}.safetensors"
    if path.is_file():
        tensors, _ = read_safetensors(path)
        return Seen(tensors["features"], tensors["energy"], tensors["accurate"].bool())
    wanted = scenes(DRAWN_SEED, count)
    seen = look(rendered(wanted), wanted, "real pictures")
    kept = {
        "features": seen.features,
        "energy": seen.energy,
        "accurate": seen.accurate.to(torch.uint8),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, kept, {})
    return seen
