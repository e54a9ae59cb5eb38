"""What is seen in each drawn picture of a set by itself, before the set is judged."""

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
from .grain import band_powers
from .lines import line_energy
from .regions import regions_of
from .speckle import speckle


@dataclass(frozen=True)
class Looks:
    """Of N pictures: speckle, edge error and energy of lines [N], NaN where there was nothing to measure, band powers
    [N, bands], and whether each shows its caption [N]."""

    speckle: Tensor
    edges: Tensor
    lines: Tensor
    powers: Tensor
    accurate: Tensor


def look_at(pictures: Sequence[NDArray[np.uint8]], scenes: Sequence[PromptScene]) -> Looks:
    """Look at pictures [H, W, 3] of scenes, given in order."""
    speckles, edges, lines, accurate = [], [], [], []
    for picture, scene in zip(pictures, scenes, strict=True):
        regions = regions_of(picture, scene)
        speckles.append(_or_nan(speckle(picture, regions)))
        edges.append(_or_nan(edge_error(regions)))
        lines.append(_or_nan(line_energy(picture, regions)))
        accurate.append(check(picture, scene).accurate)
    return Looks(
        torch.tensor(speckles, dtype=torch.float64),
        torch.tensor(edges, dtype=torch.float64),
        torch.tensor(lines, dtype=torch.float64),
        torch.cat([_powers(picture) for picture in pictures]),
        torch.tensor(accurate),
    )


def together(parts: Sequence[Looks]) -> Looks:
    """Several sets as one."""
    return Looks(
        torch.cat([part.speckle for part in parts]),
        torch.cat([part.edges for part in parts]),
        torch.cat([part.lines for part in parts]),
        torch.cat([part.powers for part in parts]),
        torch.cat([part.accurate for part in parts]),
    )


def _or_nan(found: float | None) -> float:
    return float("nan") if found is None else found


def _powers(picture: NDArray[np.uint8]) -> Tensor:
    return band_powers(from_bytes(rearrange(torch.tensor(picture), "h w c -> 1 c h w")))
