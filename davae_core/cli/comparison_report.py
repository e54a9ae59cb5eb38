"""The numbers of comparisons, as JSON and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from ..files import write_text
from .comparison import BASE_FULL, BASE_HALF, DAVAE, PictureScores, Score

TITLES = {
    BASE_FULL: "base VAE, full size",
    BASE_HALF: "base VAE, half size",
    DAVAE: "DA-VAE",
}


def report(pictures: Sequence[PictureScores], files: Mapping[str, str]) -> dict[str, Any]:
    """Plain data: the files used, every picture's scores, latent shapes and token counts, and the means."""
    return {
        "files": dict(files),
        "pictures": [asdict(picture) for picture in pictures],
        "mean": {way: _mean(scores) for way, scores in _by_way(pictures).items()},
    }


def write_report(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; raises CheckpointError when the system refuses."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def table(pictures: Sequence[PictureScores]) -> str:
    """PSNR and SSIM of every picture and on the mean, for a terminal."""
    columns = _by_way(pictures)
    width = max(len("mean"), *(len(picture.name) for picture in pictures))
    lines = [" " * width + "".join(f"  {TITLES[way]:>20}" for way in columns)]
    for picture in pictures:
        cells = (_cell(picture.ways[way].psnr, picture.ways[way].ssim) for way in columns)
        lines.append(f"{picture.name:<{width}}" + "".join(cells))
    means = (_mean(scores) for scores in columns.values())
    lines.append(f"{'mean':<{width}}" + "".join(_cell(m["psnr"], m["ssim"]) for m in means))
    return "\n".join(lines) + "\n"


def _by_way(pictures: Sequence[PictureScores]) -> dict[str, list[Score]]:
    return {way: [picture.ways[way] for picture in pictures] for way in pictures[0].ways}


def _cell(psnr: float, ssim: float) -> str:
    return f"  {psnr:9.2f} dB / {ssim:.3f}"


def _mean(scores: Sequence[Score]) -> dict[str, float]:
    return {
        "psnr": fmean(score.psnr for score in scores),
        "ssim": fmean(score.ssim for score in scores),
    }
