"""The ways in which the bundled miniature comes to a picture of 256 px, from captions and from real pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core import mini
from davae_core.codec.files import load_codec
from davae_core.pipeline import TextToImage
from davae_core.transformer.description import Advice
from davae_core.transformer.presets import UNTRAINED

SIDE, BATCH = 256, 8
BASE_STEPS = 20
"""Of the untouched model, under a detail and alone."""


def joint(pipeline: TextToImage, captions: Sequence[str], guidance: float) -> Iterator[Tensor]:
    """Base and detail drawn together; batch n is drawn from seed n, here and below."""
    for number, group in _batches(captions):
        yield pipeline.draw(group, SIDE, SIDE, seed=number, guidance=guidance)


def detail_pass(
    pipeline: TextToImage, captions: Sequence[str], guidance: float
) -> Iterator[Tensor]:
    """The base by the untouched model under guidance, then the detail as its adapter advises."""
    for number, group in _batches(captions):
        yield pipeline.draw(group, SIDE, SIDE, seed=number, base=_base(guidance))


def base_enlarged(
    pipeline: TextToImage, captions: Sequence[str], guidance: float
) -> Iterator[Tensor]:
    """The same bases without a detail: pictures of half the size, enlarged."""
    for number, group in _batches(captions):
        # The base is whole before the detail's first step, and a draft shows nothing of that.
        base = _base(guidance)
        draft = pipeline.draw(group, SIDE, SIDE, seed=number, steps=1, draft=True, base=base)
        yield F.interpolate(draft, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)


@torch.inference_mode()
def through_codec(pictures: Iterator[Tensor]) -> Iterator[Tensor]:
    """Real pictures as the miniature DA-VAE gives them back: no adapter can come nearer."""
    codec = load_codec(mini.davae_path(), dtype=torch.float32)
    for batch in pictures:
        yield torch.cat([codec.decode(codec.encode(picture[None])) for picture in batch])


def _base(guidance: float) -> Advice:
    return Advice(UNTRAINED.shift, guidance, BASE_STEPS)


def _batches(captions: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for number, first in enumerate(range(0, len(captions), BATCH)):
        yield number, captions[first : first + BATCH]
