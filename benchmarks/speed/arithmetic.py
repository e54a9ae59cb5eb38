"""What is counted, not timed: operations and memory of the codec, and how much faster operations let a picture be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from . import codec
from .case import weight_bytes
from .counts import Count, counted
from .pictures import DETAIL_PASS, LAYOUT, detail_steps
from .scale import GPU
from .transformers import drawings

SIDES = (512, 1024, 2048, 4096)
STEPS = GPU.steps


def lines() -> Iterator[str]:
    """Tables of the codec and of whole pictures, in Markdown, and what the weights take."""
    counts = codec.counts(SIDES)
    yield from _codec_table(counts)
    yield ""
    yield from _pictures_table(counts["decode"])
    transformer = weight_bytes(drawings(replace(GPU, device="meta"))["ours"].transformer)
    decoder = weight_bytes(codec.both("meta", GPU.dtype).ours.joint)
    yield f"\nWeights in bfloat16: transformer {transformer / 1e9:.2f} GB, decoder {decoder / 1e9:.2f} GB."


def _codec_table(counts: Mapping[str, Mapping[int, Mapping[str, Count]]]) -> Iterator[str]:
    yield "| | side | operations | ours, TFLOP | memory | ours, MB |\n|---|---|---|---|---|---|"
    for half, sides in counts.items():
        for side, count in sides.items():
            ours, stock = count["ours"], count["stock"]
            yield (
                f"| {half} | {side} | {ours.operations / stock.operations:.3f}x | {ours.operations / 1e12:.2f} "
                f"| {ours.peak / stock.peak:.3f}x | {ours.peak / 1e6:.0f} |"
            )


def _pictures_table(decode: Mapping[int, Mapping[str, Count]]) -> Iterator[str]:
    yield (
        f"| side | a step with guidance, TFLOP: ours | stock | sampling | {STEPS} steps and decode "
        f"| detail pass, {STEPS} + {detail_steps(STEPS)} steps | memory of a step, MB: ours | stock |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    for side, step in steps().items():
        gain, both = gain_of(step, decode[side]), (step.ours, step.stock)
        cells = (
            *(f"{each.operations / 1e12:.2f}" for each in both),
            *(f"{times:.2f}x" for times in (gain.sampling, gain.joint, gain.detail_pass)),
            *(f"{each.peak / 1e6:.0f}" for each in both),
        )
        yield f"| {side} | {' | '.join(cells)} |"


@dataclass(frozen=True)
class Step:
    """A step with guidance of one picture; `base` is the untouched model's at half the size."""

    ours: Count
    base: Count
    stock: Count


@dataclass(frozen=True)
class Gain:
    """How many times fewer operations ours takes: a step of sampling, and whole pictures drawn in either way."""

    sampling: float
    joint: float
    detail_pass: float


def gain_of(step: Step, decode: Mapping[str, Count]) -> Gain:
    """Of pictures of one size; nothing that does as many operations in a second is faster by more."""
    whole = whole_pictures(step, decode)
    gains = (whole["stock"] / whole[who] for who in ("ours", DETAIL_PASS))
    return Gain(step.stock.operations / step.ours.operations, *gains)


def whole_pictures(step: Step, decode: Mapping[str, Count]) -> dict[str, float]:
    """Operations of a picture from noise, drawn in each way."""
    # A step without guidance runs the transformer once instead of twice.
    drawn = {
        "ours": STEPS * step.ours.operations,
        DETAIL_PASS: STEPS * step.base.operations + detail_steps(STEPS) * step.ours.operations / 2,
        "stock": STEPS * step.stock.operations,
    }
    return {
        who: operations + decode["stock" if who == "stock" else "ours"].operations
        for who, operations in drawn.items()
    }


def steps(sides: Sequence[int] = GPU.sides) -> dict[int, Step]:
    """By side of the picture."""
    draw = drawings(replace(GPU, device="meta"))
    return {
        side: Step(
            ours=counted(draw["ours"].drawn(side, 1, 1)),
            base=counted(draw["stock"].drawn(side // LAYOUT.ratio, 1, 1)),
            stock=counted(draw["stock"].drawn(side, 1, 1)),
        )
        for side in sides
    }
