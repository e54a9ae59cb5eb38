"""`davae pack`: a plain VAE and photographs to a packed DA-VAE."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..codec.files import BaseVae, load_base_vae, save_codec
from ..codec.packing_fit import pack
from ..images import ImageError, read_image
from ..latents import crop_to_multiple
from ..presets import SD3
from ..reading.plain_text import SentenceError

LARGEST_SIDE = 512
"""Pixels: of larger photographs only the middle is encoded, so that memory stays bounded."""


@dataclass(frozen=True)
class PackingChoices:
    """What `davae pack` was asked for; `detail_channels` None means all."""

    ratio: int
    detail_channels: int | None
    alignment: float
    phases: bool


def run(
    source: Path,
    photographs: Sequence[Path],
    output: Path,
    choices: PackingChoices,
    device: str,
    progress: Callable[[Sequence[Path]], Iterable[Path]],
) -> None:
    """Fit a packing of the VAE `source` to the photographs and write it, weights as they were stored.

    `progress` wraps the photographs while they are worked on. Raises CheckpointError, ImageError or ValueError.
    """
    base = load_base_vae(source, like=SD3.layout)
    stored = next(base.vae.parameters()).dtype
    base = BaseVae(base.vae.to(device, torch.float32), base.layout)
    multiple = replace(base.layout, ratio=choices.ratio).factor
    crops = _middles(progress(photographs), multiple, torch.device(device))
    try:
        codec = pack(
            base, crops, choices.ratio, choices.detail_channels, choices.alignment, choices.phases
        )
    except ImageError:
        raise
    except ValueError as error:
        raise SentenceError(f"{source} cannot be packed so: {error}") from error
    save_codec(output, codec, dtype=stored)


def _middles(paths: Iterable[Path], multiple: int, device: torch.device) -> Iterator[Tensor]:
    """The middle of each photograph, [1, 3, H, W] with sides that are multiples, one after the other."""
    for path in paths:
        picture = read_image(path)
        try:
            yield middle(crop_to_multiple(picture, multiple), multiple).to(device)
        except ValueError as error:
            raise ImageError(f"{path} is too small for this packing: {error}") from error


def middle(picture: Tensor, multiple: int) -> Tensor:
    """At most LARGEST_SIDE a side, from the middle of [1, 3, H, W] whose sides are multiples; they still are."""
    largest = max(LARGEST_SIDE // multiple, 1) * multiple
    for dimension in (2, 3):
        spare = max(picture.shape[dimension] - largest, 0)
        picture = picture.narrow(dimension, spare // 2, picture.shape[dimension] - spare)
    return picture
