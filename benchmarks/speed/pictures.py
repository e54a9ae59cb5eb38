"""Whole pictures from noise: every step of sampling with guidance, then the decode, one picture after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .case import Case, weight_bytes
from .codec import Both, both
from .scale import Scale
from .transformers import Drawing, drawings


def cases(scale: Scale) -> Iterator[Case]:
    """A batch of pictures at each size."""
    draw, codecs = drawings(scale), both(scale.device, scale.dtype)
    decoders = {"ours": _ours(codecs), "stock": codecs.decoder}
    # Every step reads every weight of the transformer once.
    weights = {who: scale.steps * weight_bytes(each.transformer) for who, each in draw.items()}
    for side in scale.sides:
        for batch in scale.batches:
            ways = {
                who: _picture(each, decoders[who], side, batch, scale.steps)
                for who, each in draw.items()
            }
            yield Case("pictures", f"pictures, {scale.steps} steps", side, batch, ways, weights)


def _ours(codecs: Both) -> Callable[[Tensor], Tensor]:
    return lambda latents: codecs.ours.decode_joint(*latents.chunk(2, dim=1))


def _picture(
    drawing: Drawing, decode: Callable[[Tensor], Tensor], side: int, batch: int, steps: int
) -> Callable[[], object]:
    draw = drawing.drawn(side, batch, steps)

    def run() -> list[Tensor]:
        return [decode(latent).to("cpu") for latent in torch.split(draw(), 1)]

    return run
