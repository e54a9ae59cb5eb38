"""What one run of the ablation trains, draws and measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .anchors import ANCHORS
from .arms import (
    ARMS,
    HELD_OUT_SCENES,
    PICTURES,
    REFERENCES,
    SCENES,
    SEEDS,
    STEPS,
    Arm,
    Codec,
    Reference,
    Sampling,
)


@dataclass(frozen=True)
class Plan:
    """The defaults are what the committed table was made with; the settings override keys of the two YAML files."""

    arms: tuple[Arm, ...] = ARMS
    references: tuple[Reference, ...] = REFERENCES
    anchors: tuple[str, ...] = ANCHORS
    seeds: tuple[int, ...] = SEEDS
    scenes: int = SCENES
    held_out: int = HELD_OUT_SCENES
    steps: int = STEPS
    pictures: int = PICTURES
    codec_settings: tuple[str, ...] = ()
    adapter_settings: tuple[str, ...] = ()

    def codecs(self) -> list[Codec]:
        """Every codec that the arms need, once."""
        return list(dict.fromkeys(arm.codec for arm in self.arms))

    def adapters(self) -> list[tuple[Arm, int]]:
        """Seed after seed, so that a run cut short has whole comparisons."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def protocol(self) -> dict[str, Any]:
        """What a reader of the results should know."""
        return {
            "steps": self.steps,
            "scenes": self.scenes,
            "held_out": self.held_out,
            "pictures": self.pictures,
            "sampling": asdict(Sampling()),
        }
