"""The report as data and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .measures import Correlation, Fidelity
from .thresholds import CODEC, CONTROL, FULL, HALF, LINEAR_F8, LINEAR_F16, Threshold

ANTIALIASED = "base, half size, antialiased"
ROWS: dict[str, str] = {
    FULL: "(a) base VAE at full size, four times the tokens",
    HALF: "(b) base VAE at half size, scaled up",
    ANTIALIASED: "(b') the same, reduced with antialiasing",
    CODEC: "(c) DA-VAE",
    CONTROL: "(control) the same training, detail held at zero",
    LINEAR_F8: "PCA f8 k16: linear, as many numbers as (a)",
    LINEAR_F16: "PCA f16 k32: linear, as many numbers as (c)",
}


@dataclass(frozen=True)
class Source:
    """Which photographs a report is about: its title, and the commands that wrote it."""

    title: str
    origin: str


FIRST = "This was the miniature's first codec, a KL autoencoder: `git checkout 182093e` has it and its recipes. "
"""What the committed pages are about."""
HELD_OUT = Source(
    "The first miniature's codec on six held-out photographs",
    FIRST + "Written by `python -m benchmarks.miniature.report --arms OUT/arms.json` after "
    "`python -m benchmarks.miniature.train_arms OUT`; native sizes",
)
FRESH = Source(
    "The first miniature on photographs that nothing here had looked at",
    FIRST
    + "Where they come from and how they were chosen: `benchmarks/miniature/fresh_photographs.py`. Written by "
    "`python -m benchmarks.miniature.report --photographs PHOTOGRAPHS --control runs/control/control.safetensors` "
    "after `python -m benchmarks.miniature.fresh_photographs WHEELS PHOTOGRAPHS` and "
    "`python -m training vae training/configs/mini_davae.yaml --set model.trunk=frozen --set model.detail=zero "
    "--set loss.alignment.weight=0 --set output.folder=runs/control --set output.name=control`",
)


@dataclass(frozen=True)
class ArmResult:
    """One row of the table over the alignment weight."""

    name: str
    trunk: str
    weight: float
    detail: str
    steps: int
    choosing: float
    psnr: float
    gain_over_base: float
    correlation: Correlation | None


@dataclass(frozen=True)
class Report:
    """Everything that was measured. ``scores`` by row name (``ROWS``), in PSNR and SSIM by picture."""

    sizes: dict[str, tuple[int, int]]
    scores: dict[str, Fidelity]
    correlations: dict[str, Correlation]
    arms: tuple[ArmResult, ...]
    thresholds: tuple[Threshold, ...]


def as_data(report: Report) -> dict[str, Any]:
    """The report for ``results.json``, numbers rounded to four decimals."""
    return {
        "pictures": {name: list(size) for name, size in report.sizes.items()},
        "psnr": {
            row: _rounded(score.psnr, score.mean_psnr) for row, score in report.scores.items()
        },
        "ssim": {
            row: _rounded(score.ssim, score.mean_ssim) for row, score in report.scores.items()
        },
        "correlation": {row: _spread(found) for row, found in report.correlations.items()},
        "arms": [_arm_data(arm) for arm in report.arms],
        "thresholds": [
            {"what": t.what, "bound": t.bound, "value": round(t.value, 4), "holds": t.holds}
            for t in report.thresholds
        ],
    }


def as_markdown(report: Report, source: Source = HELD_OUT) -> str:
    """The report for people."""
    names = list(report.sizes)
    parts = [
        f"# {source.title}",
        "",
        f"PSNR in dB (SSIM). {source.origin}; cut centrally to multiples of 16: "
        + ", ".join(f"{n} {w}x{h}" for n, (w, h) in report.sizes.items())
        + ".",
        "",
        _row(["", *names, "mean"]),
        _rule(len(names) + 1),
    ]
    for key, title in ROWS.items():
        if key in report.scores:
            parts.append(_score_row(title, names, report.scores[key]))
    parts += [
        "",
        *_distances(report.scores[CODEC], report.scores[FULL], report.scores[LINEAR_F16]),
        "",
        "## Required",
        "",
        *[f"* {threshold}" for threshold in report.thresholds],
        "",
    ]
    if report.arms:
        parts += ["## Alignment weight", "", *_arm_table(report.arms), ""]
    return "\n".join(parts)


def _distances(codec: Fidelity, full: Fidelity, linear: Fidelity) -> list[str]:
    """What the DA-VAE is not: as near as four times the tokens, nor as a linear code of as many numbers."""
    gap = linear.mean_psnr - codec.mean_psnr
    side = "nearer to the pictures" if gap >= 0 else "farther from the pictures"
    return [
        f"The DA-VAE ends {full.mean_psnr - codec.mean_psnr:.2f} dB below the base VAE at full size, which spends "
        "four times the tokens.",
        "",
        f"A linear code of as many numbers, PCA f16 k32, is {abs(gap):.2f} dB {side} than the DA-VAE "
        f"({linear.mean_psnr:.2f} dB, SSIM {linear.mean_ssim:.3f}, against {codec.mean_psnr:.2f} dB, "
        f"{codec.mean_ssim:.3f}). What it lacks is a base that a pretrained transformer knows.",
    ]


def _arm_table(arms: Sequence[ArmResult]) -> list[str]:
    head = [
        "arm",
        "trunk",
        "weight",
        "steps",
        "PSNR, choosing set",
        "PSNR, held out",
        "over (b)",
        "correlation (lowest .. highest channel)",
    ]
    lines = [_row(head), _rule(len(head) - 1)]
    for arm in arms:
        corr = "detail held at zero"
        if arm.correlation is not None:
            channels = arm.correlation.channels
            corr = f"{arm.correlation.mean:.2f} ({min(channels):.2f} .. {max(channels):.2f})"
        weight = f"{arm.weight:g}" if arm.detail == "learned" else "-"
        trunk = arm.trunk if arm.detail == "learned" else "-"
        cells = [f"{arm.choosing:.2f}", f"{arm.psnr:.2f}", f"{arm.gain_over_base:+.2f}", corr]
        lines.append(_row([arm.name, trunk, weight, str(arm.steps), *cells]))
    return lines


def _score_row(title: str, names: Sequence[str], score: Fidelity) -> str:
    cells = [f"{score.psnr[name]:.2f} ({score.ssim[name]:.3f})" for name in names]
    return _row([title, *cells, f"**{score.mean_psnr:.2f}** ({score.mean_ssim:.3f})"])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(numbers: int) -> str:
    return "|---|" + "---|" * numbers


def _rounded(values: Mapping[str, float], mean: float) -> dict[str, float]:
    return {**{name: round(value, 4) for name, value in values.items()}, "mean": round(mean, 4)}


def _spread(found: Correlation) -> dict[str, Any]:
    channels = [round(value, 4) for value in found.channels]
    return {
        "mean": round(found.mean, 4),
        "min": min(channels),
        "max": max(channels),
        "channels": channels,
    }


def _arm_data(arm: ArmResult) -> dict[str, Any]:
    return {
        "name": arm.name,
        "trunk": arm.trunk,
        "weight": arm.weight,
        "detail": arm.detail,
        "steps": arm.steps,
        "choosing_psnr": round(arm.choosing, 4),
        "psnr": round(arm.psnr, 4),
        "gain_over_base": round(arm.gain_over_base, 4),
        "correlation": None if arm.correlation is None else _spread(arm.correlation),
    }
