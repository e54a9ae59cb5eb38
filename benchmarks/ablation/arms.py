"""What the ablation compares: the arms, the references beside them, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from davae_core import mini

SEEDS = (0, 1, 2)
"""Of an adapter's training (weights, order, noise), and of the noise that its pictures are drawn from."""
STEPS, RAMP_STEPS = 600, 150
"""Of every adapter, and of the ramp of w(n) in it, as in mini_adapter.yaml."""
SIDE, BASE_SIDE = 256, 128
SCENES, HELD_OUT_SCENES = 1500, 64
PICTURES = 2000
"""Drawn per arm and seed, each from the caption of another scene."""
DRAWN_SEED, FLOOR_SEED, HELD_OUT_SEED = 2_000_000, 3_000_000, 1_000_000
"""First scene that captions are taken from, of a second set of real pictures, and of those that errors are taken on."""


@dataclass(frozen=True)
class Sampling:
    """How every picture is drawn: Euler steps and the shift of their levels.

    Guidance 1 is none, so that only what was learned counts.
    """

    steps: int = 10
    shift: float = 3.0
    guidance: float = 1.0


@dataclass(frozen=True)
class Stack:
    """The files that every arm starts from."""

    base_vae: Path
    davae: Path
    clip: Path
    transformer: Path


@dataclass(frozen=True)
class Codec:
    """A DA-VAE by the weight of its alignment loss; everything else is mini_davae.yaml."""

    name: str
    weight: float


@dataclass(frozen=True)
class Arm:
    """One way to adapt the transformer; `settings` are what differs from mini_adapter.yaml."""

    name: str
    title: str
    codec: Codec
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The base transformer as it is: drawn at `side`, then enlarged to SIDE where that is more."""

    name: str
    title: str
    side: int


ALIGNED, UNALIGNED = Codec("aligned", 0.02), Codec("unaligned", 0.0)
FULL, NO_ALIGNMENT, NO_ZERO_INIT = "full", "no_alignment", "no_zero_init"
NO_SCHEDULE, NO_EDGES = "no_schedule", "no_edge_training"
ARMS = (
    Arm(FULL, "full method", ALIGNED),
    Arm(NO_ALIGNMENT, "without alignment (weight 0)", UNALIGNED),
    Arm(NO_ZERO_INIT, "without zero initialisation", ALIGNED, ("model.zero_init=false",)),
    Arm(NO_SCHEDULE, "without the schedule w(n)", ALIGNED, ("loss.ramp_steps=0",)),
    Arm(NO_EDGES, "base halves of the edge layers frozen", ALIGNED, ("model.train_edges=false",)),
)
REFERENCES = (
    Reference("base_upsampled", "base model at its own size, enlarged", BASE_SIDE),
    Reference(
        "base_four_times_tokens", "base model at twice its size, four times the tokens", SIDE
    ),
)
TITLES = {
    **{arm.name: arm.title for arm in ARMS},
    **{reference.name: reference.title for reference in REFERENCES},
}


def bundled_stack() -> Stack:
    """The miniature in davae_core/mini."""
    return Stack(mini.base_vae_path(), mini.davae_path(), mini.clip_path(), mini.transformer_path())


def stack_of(folder: Path | None) -> Stack:
    """The miniature that `python -m training mini` wrote into `folder`; None for the bundled one."""
    bundled = bundled_stack()
    if folder is None:
        return bundled
    return Stack(
        folder / bundled.base_vae.name,
        folder / bundled.davae.name,
        folder / bundled.clip.name,
        folder / bundled.transformer.name,
    )
