"""All measures of a set of drawn pictures together, none of which may judge alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.scene_checker import check
from davae_core.images import from_bytes
from training.mini.prompt_scenes import PromptScene

from .edges import edge_error
from .grain import band_powers, grain_distance
from .speckle import speckle


@dataclass(frozen=True)
class Verdict:
    """Means: speckle in levels of 255, edge error in pixels, grain in octaves, share of right captions."""

    speckle: float
    edges: float
    grain: float
    captions: float

    def score(self, real: Verdict) -> float:
        """How much worse than real pictures, 0 for them: speckle and edges in octaves, grain, and missed captions.

        A tenth of the captions missed counts as one octave. Less speckle or straighter edges than real earn nothing.
        """
        octaves = (
            np.log2(max(1.0, self.speckle / real.speckle)),
            np.log2(max(1.0, self.edges / real.edges)),
        )
        return float(sum(octaves) + self.grain + 10.0 * (1.0 - self.captions))


def verdict(
    pictures: Sequence[NDArray[np.uint8]], scenes: Sequence[PromptScene], real: Tensor
) -> Verdict:
    """Judge pictures [H, H, 3] of scenes; `real` are the band powers of real pictures of the same captions."""
    speckles = [speckle(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    edges = [edge_error(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    right = [
        check(picture, scene).accurate for picture, scene in zip(pictures, scenes, strict=True)
    ]
    return Verdict(
        speckle=_mean(speckles),
        edges=_mean(edges),
        grain=grain_distance(powers_of(pictures), real),
        captions=float(np.mean(right)),
    )


def powers_of(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Band powers [N, bands] of pictures [H, W, 3] of bytes."""
    return torch.cat(
        [
            band_powers(from_bytes(rearrange(torch.tensor(picture), "h w c -> 1 c h w")))
            for picture in pictures
        ]
    )


def _mean(found: Sequence[float | None]) -> float:
    """Of what could be measured; infinite where nothing could."""
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if values else float("inf")
