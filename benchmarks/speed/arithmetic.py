"""What is counted, not timed: operations and memory of the codec, and how much faster operations let a picture be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..operations import Operations
from . import codec
from .pictures import LAYOUT, detail_steps
from .scale import GPU
from .transformers import drawings

SIDES = (512, 1024, 2048, 4096)
STEPS = GPU.steps


def lines() -> Iterator[str]:
    """Both tables, in Markdown."""
    counts = codec.counts(SIDES)
    yield "| | side | operations | ours, TFLOP | memory | ours, MB |\n|---|---|---|---|---|---|"
    for half, sides in counts.items():
        for side, count in sides.items():
            ours, stock = count["ours"], count["stock"]
            yield (
                f"| {half} | {side} | {ours.operations / stock.operations:.3f}x | {ours.operations / 1e12:.2f} "
                f"| {ours.peak / stock.peak:.3f}x | {ours.peak / 1e6:.0f} |"
            )
    yield (
        f"\n| side | a step with guidance, TFLOP: ours | stock | sampling | {STEPS} steps and decode "
        f"| detail pass, {STEPS} + {detail_steps(STEPS)} steps |\n|---|---|---|---|---|---|"
    )
    for side, step in steps().items():
        decode = {who: count.operations for who, count in counts["decode"][side].items()}
        whole = STEPS * step.stock + decode["stock"]
        joint = STEPS * step.ours + decode["ours"]
        # A step without guidance runs the transformer once instead of twice.
        in_two = STEPS * step.base + detail_steps(STEPS) * step.ours / 2 + decode["ours"]
        yield (
            f"| {side} | {step.ours / 1e12:.2f} | {step.stock / 1e12:.2f} | {step.stock / step.ours:.2f}x "
            f"| {whole / joint:.2f}x | {whole / in_two:.2f}x |"
        )


@dataclass(frozen=True)
class Step:
    """Operations of a step with guidance; `base` is the untouched model's at half the size."""

    ours: int
    base: int
    stock: int


def steps() -> dict[int, Step]:
    """By side of the picture."""
    draw = drawings(replace(GPU, device="meta"))
    return {
        side: Step(
            ours=_operations(draw["ours"].drawn(side, 1, 1)),
            base=_operations(draw["stock"].drawn(side // LAYOUT.ratio, 1, 1)),
            stock=_operations(draw["stock"].drawn(side, 1, 1)),
        )
        for side in GPU.sides
    }


def _operations(do: Callable[[], object]) -> int:
    with torch.no_grad(), Operations() as operations:
        do()
    return operations.total
