"""Whole pictures from noise: every step of sampling, then the decode, one picture after another.

Ours draws them jointly, base and detail together, or in a detail pass: the untouched model draws the base, at half the
size, and the adapted one the detail on it, in a third of the steps and without guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from davae_core.latents import join, split
from davae_core.presets import SD3

from .case import Case, weight_bytes
from .codec import Both, both
from .scale import Scale
from .transformers import Drawing, drawings
from .turns import Ways

DETAIL_PASS = "detail pass"
LAYOUT = SD3.layout


def cases(scale: Scale) -> Iterator[Case]:
    """A batch of pictures at each size, one picture first.

    Weights are the transformer's, which every step reads; the decoder's are few beside them.
    """
    draw, codecs = drawings(scale), both(scale.device, scale.dtype)
    weights = {who: weight_bytes(each.transformer) for who, each in draw.items()}
    what, steps = f"pictures, {scale.steps} steps", scale.steps
    read = {who: steps * size for who, size in weights.items()}
    read[DETAIL_PASS] = read["stock"] + detail_steps(steps) * weights["ours"]
    weights[DETAIL_PASS] = sum(weights.values())
    for batch in scale.pictures:
        for side in scale.decoded:
            ways = _ways(draw, codecs, side, batch, steps)
            yield Case("pictures", what, side, batch, ways, weights, read=read)


def detail_steps(steps: int) -> int:
    """Of the detail pass, after so many for the base."""
    return max(1, steps // 3)


def _ways(draw: dict[str, Drawing], codecs: Both, side: int, batch: int, steps: int) -> Ways:
    joint, stock = (draw[who].drawn(side, batch, steps) for who in ("ours", "stock"))
    base = draw["stock"].drawn(side // LAYOUT.ratio, batch, steps)
    detail = draw["ours"].drawn(side, batch, detail_steps(steps), guided=False)

    def on_base() -> Tensor:
        return join(base(), split(detail(), LAYOUT)[1], LAYOUT)

    def ours(latents: Tensor) -> Tensor:
        return codecs.ours.decode_joint(*split(latents, LAYOUT))

    return {
        "ours": _picture(joint, ours),
        DETAIL_PASS: _picture(on_base, ours),
        "stock": _picture(stock, codecs.decoder),
    }


def _picture(
    draw: Callable[[], Tensor], decode: Callable[[Tensor], Tensor]
) -> Callable[[], object]:
    def run() -> list[Tensor]:
        return [decode(latent).to("cpu") for latent in torch.split(draw(), 1)]

    return run
