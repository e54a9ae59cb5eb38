"""A picture of each class side by side: drawn, by the base, by the widened model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor

from davae_core.cli.prompt_grid import prompt_grid
from davae_core.images import from_bytes, write_png
from training.sample.draw import picture_path

from .judging import HELD_OUT, read
from .pictures import CLASSES, drawn


def write_sheet(path: Path, samples: Mapping[str, Path], count: int) -> None:
    """Write a sheet of the first classes, `count` at most; `samples`: folders of pictures of the classes in turn."""
    shown = min(count, len(CLASSES))
    ways = {"drawn": _tensor(drawn(label, HELD_OUT + label) for label in range(shown))}
    for heading, folder in samples.items():
        ways[heading] = _tensor(read(picture_path(folder, number)) for number in range(shown))
    names = [name.replace("_", " ") for name in CLASSES[:shown]]
    write_png(path, prompt_grid(names, ways))


def _tensor(pictures: Iterable[NDArray]) -> Tensor:
    stacked = torch.stack([torch.from_numpy(picture.copy()) for picture in pictures])
    return from_bytes(stacked.permute(0, 3, 1, 2))
