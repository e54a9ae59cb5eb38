"""What is measured on a set of pictures, and the real pictures it is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from benchmarks.drawn.looks import Looks, look_at, together
from benchmarks.drawn.verdict import score, verdict
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
    """Of N pictures: features [N, D], of each its high-frequency energy [N], and what noise and blur cannot please."""

    features: Tensor
    energy: Tensor
    looks: Looks


@dataclass(frozen=True)
class Measures:
    """What a set of pictures is judged by, beside real pictures of the same captions.

    Frechet distance, share of pictures that show their caption, sharpness as a multiple of real pictures', then
    benchmarks/drawn's: speckle in levels of 255, edge error in pixels, grain in octaves, energy of lines as
    a multiple of real pictures', and all but that in one `score`.
    `codec_score` is the score beside real pictures through the codec that decoded these. None is what was not measured.
    """

    fd: float
    prompt_accuracy: float
    sharpness: float
    speckle: float | None = None
    edges: float | None = None
    grain: float | None = None
    lines: float | None = None
    score: float | None = None
    codec_score: float | None = None


def scenes(first: int, count: int) -> list[PromptScene]:
    """Scenes `first` to `first + count - 1`, all of them squares."""
    return [replace(compose(first + number), format="square") for number in range(count)]


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
    features, energy, looks, first = [], [], [], 0
    with tqdm(total=len(wanted), desc=name, unit="picture") as bar:
        for batch in batches:
            # What a viewer gets is bytes.
            pixels = np.stack([np.asarray(image_to_pil(picture)) for picture in batch])
            shown = _from_bytes(pixels)
            features.append(extract(shown))
            energy.append(high_frequency_energy(shown))
            looks.append(look_at(list(pixels), wanted[first : first + len(batch)]))
            first += len(batch)
            bar.update(len(batch))
    return Seen(torch.cat(features), torch.cat(energy), together(looks))


def measures(seen: Seen, real: Seen, through_codec: Seen | None = None) -> Measures:
    """Compare pictures with real ones of the same captions, and with what the codec leaves of those."""
    found, wanted = (moments(standardised(part.features, real.features)) for part in (seen, real))
    judged = verdict(seen.looks, real.looks)
    return Measures(
        fd=frechet_distance(found, wanted),
        prompt_accuracy=judged.captions,
        sharpness=float(seen.energy.mean() / real.energy.mean()),
        speckle=judged.speckle,
        edges=judged.edges,
        grain=judged.grain,
        lines=judged.lines,
        score=score(seen.looks, real.looks),
        codec_score=None if through_codec is None else score(seen.looks, through_codec.looks),
    )


def real_pictures(folder: Path, count: int) -> Seen:
    """What is seen in the real pictures of the scenes that captions are taken from; kept in `folder`."""

    def see() -> Seen:
        wanted = scenes(DRAWN_SEED, count)
        return look(rendered(wanted), wanted, "real pictures")

    return kept(folder / f"real_{count}.safetensors", see)


def kept(path: Path, see: Callable[[], Seen]) -> Seen:
    """What `path` holds, or what `see` gives, which is then kept there."""
    if path.is_file():
        tensors, _ = read_safetensors(path)
        names = [field.name for field in fields(Looks)]
        looks = Looks(**{name: tensors[name] for name in names})
        return Seen(tensors["features"], tensors["energy"], looks)
    seen = see()
    tensors = {"features": seen.features, "energy": seen.energy}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {**tensors, **vars(seen.looks)}, {})
    return seen
