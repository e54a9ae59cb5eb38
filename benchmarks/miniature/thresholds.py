"""What the miniature must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .measures import Correlation, Fidelity

GAIN_OVER_BASE = 0.8
GAIN_OVER_CONTROL = 0.4
CORRELATION_GAIN = 0.3
ALIGNMENT_COST = 0.8
FULL, HALF, CODEC, CONTROL, ALIGNED, UNALIGNED = (
    "base, full size", "base, half size", "DA-VAE", "control", "aligned", "unaligned",
)  # fmt: skip
LINEAR_F8, LINEAR_F16 = "PCA f8 k16", "PCA f16 k32"


@dataclass(frozen=True)
class Threshold:
    """One requirement: what is compared, the bound, and the measured value (dB unless it says otherwise)."""

    what: str
    bound: float
    value: float
    at_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side of the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}: {self.what}: {self.value:.2f} ({sign} {self.bound:g})"


def thresholds(
    scores: Mapping[str, Fidelity], correlations: Mapping[str, Correlation]
) -> list[Threshold]:
    """Every requirement that can be judged from the measured rows."""
    full, half, codec = scores[FULL], scores[HALF], scores[CODEC]
    gains = [codec.psnr[name] - half.psnr[name] for name in codec.psnr]
    found = [
        Threshold(
            "DA-VAE over base at half size, mean", GAIN_OVER_BASE, codec.mean_psnr - half.mean_psnr
        ),
        Threshold("DA-VAE over base at half size, worst picture", 0.0, min(gains)),
        Threshold(
            "base at full size over PCA f8 k16, mean",
            0.0,
            full.mean_psnr - scores[LINEAR_F8].mean_psnr,
        ),
    ]
    if CONTROL in scores:
        gain = codec.mean_psnr - scores[CONTROL].mean_psnr
        found.append(
            Threshold("DA-VAE over the control without detail, mean", GAIN_OVER_CONTROL, gain)
        )
    if ALIGNED in scores and UNALIGNED in scores:
        gain = correlations[ALIGNED].mean - correlations[UNALIGNED].mean
        cost = scores[UNALIGNED].mean_psnr - scores[ALIGNED].mean_psnr
        found.append(Threshold("correlation gained by alignment (no unit)", CORRELATION_GAIN, gain))
        found.append(
            Threshold("PSNR that alignment costs, mean", ALIGNMENT_COST, cost, at_most=True)
        )
    return found
