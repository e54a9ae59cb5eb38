"""What one run of the ablation trains, draws and measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .arms import (
    ARMS,
    HELD_OUT_SCENES,
    PICTURES,
    PRECISION,
    REFERENCES,
    SCENES,
    SEEDS,
    STEPS,
    Adapter,
    Arm,
    Codec,
    Reference,
    Sampling,
)


@dataclass(frozen=True)
class Plan:
    """The defaults are the whole ablation; the settings override keys of the YAML files.

    Another choice of arms, references and seeds goes on in the same folder; everything else belongs to the protocol,
    which a folder has one of.
    """

    arms: tuple[Arm, ...] = ARMS
    references: tuple[Reference, ...] = REFERENCES
    seeds: tuple[int, ...] = SEEDS
    scenes: int = SCENES
    held_out: int = HELD_OUT_SCENES
    steps: int = STEPS
    pictures: int = PICTURES
    codec_settings: tuple[str, ...] = ()
    adapter_settings: tuple[str, ...] = ()

    def codecs(self) -> list[Codec]:
        """Every codec that the arms need, once."""
        return list(dict.fromkeys(arm.adapter.codec for arm in self.arms))

    def adapters(self) -> list[Adapter]:
        """Every adapter that the arms draw with, once."""
        return list(dict.fromkeys(arm.adapter for arm in self.arms))

    def drawn_with(self, adapter: Adapter) -> list[Arm]:
        """The arms that draw with an adapter."""
        return [arm for arm in self.arms if arm.adapter == adapter]

    def draws_on_bases(self) -> bool:
        """Whether the untouched transformer must draw bases first."""
        return any(arm.drawn == "detail" for arm in self.arms) or any(
            reference.base_pass for reference in self.references
        )

    def protocol(self) -> dict[str, Any]:
        """What a reader of the results should know."""
        return {
            "steps": self.steps,
            "scenes": self.scenes,
            "held_out": self.held_out,
            "pictures": self.pictures,
            "precision": PRECISION,
            "sampling": asdict(Sampling()),
        }
