"""All measures of a set of drawn pictures together, none of which may judge alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .grain import grain_distance
from .looks import Looks


@dataclass(frozen=True)
class Verdict:
    """Means: speckle in levels of 255, edge error in pixels, grain in octaves, share of right captions, and the energy
    of lines as a multiple of real pictures'.

    Speckle and edges are infinite where no picture had anything to measure them on.
    """

    speckle: float
    edges: float
    grain: float
    captions: float
    lines: float

    def score(self, real: Verdict) -> float:
        """How much worse than real pictures, 0 for them: speckle and edges in octaves, grain, and missed captions.

        A tenth of the captions missed counts as one octave. Less speckle or straighter edges than real earn nothing;
        lines too weak or too strong show in the grain.
        """
        octaves = (
            np.log2(max(1.0, self.speckle / real.speckle)),
            np.log2(max(1.0, self.edges / real.edges)),
        )
        return float(sum(octaves) + self.grain + 10.0 * (1.0 - self.captions))


def verdict(seen: Looks, real: Looks) -> Verdict:
    """Judge pictures; `real` are those of the same captions whose grain is wanted."""
    return Verdict(
        speckle=_mean(seen.speckle),
        edges=_mean(seen.edges),
        grain=grain_distance(seen.powers, real.powers),
        captions=float(seen.accurate.double().mean()),
        lines=float(seen.lines.nanmean() / real.lines.nanmean()),
    )


def score(seen: Looks, real: Looks) -> float:
    """`Verdict.score` beside pictures of the same captions: real ones, or what a codec leaves of them."""
    return verdict(seen, real).score(verdict(real, real))


def _mean(values: Tensor) -> float:
    """Of what could be measured; infinite where nothing could."""
    found = float(values.nanmean())
    return float("inf") if np.isnan(found) else found
