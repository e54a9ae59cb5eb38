"""How many captions the bundled miniature follows: ``python -m benchmarks.prompt_accuracy``.

Draws scenes that no training has seen, as `davae demo` draws its prompts, and lets benchmarks/scene_checker.py judge
the colour, the form, the surface and the place of everything in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.scene_checker import Claims, check
from davae_core import mini
from davae_core.cli.demo import bundled_pipeline
from davae_core.images import image_to_pil
from davae_core.pipeline import TextToImage
from training.mini.prompt_scenes import FORMATS, PromptScene, caption, compose, sides

FIRST_SCENE = 2_000_000
"""Training uses scenes 0 to 11,999, validation those from 1,000,000 on."""
SIDE, BATCH = 256, 8


def judged(pipeline: TextToImage, scenes: Sequence[PromptScene]) -> Iterator[tuple[str, Claims]]:
    """Every scene's caption with what its picture, in its own format, shows of it; batch n is drawn from seed n."""
    for number, group in enumerate(_batches(scenes)):
        captions = [caption(scene) for scene in group]
        width, height = sides(group[0].format, SIDE)
        pictures = pipeline.draw(captions, width, height, seed=number)
        for scene, text, picture in zip(group, captions, pictures, strict=True):
            yield text, check(np.asarray(image_to_pil(picture)), scene)


def _batches(scenes: Sequence[PromptScene]) -> Iterator[Sequence[PromptScene]]:
    for shown in FORMATS:
        alike = [scene for scene in scenes if scene.format == shown]
        for first in range(0, len(alike), BATCH):
            yield alike[first : first + BATCH]


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the captions that were missed and the counts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prompt_accuracy", description=__doc__
    )
    parser.add_argument("--pictures", type=int, default=48, help="how many (default 48)")
    given = parser.parse_args(arguments)
    scenes = [compose(FIRST_SCENE + number) for number in range(given.pictures)]
    found = list(
        tqdm(
            judged(bundled_pipeline(mini.adapter_path()), scenes),
            total=len(scenes),
            file=sys.stderr,
        )
    )
    for text, claims in found:
        if not claims.accurate:
            sys.stdout.write(f"missed: {text}\n")
    shapes = sum(claims.shapes for _, claims in found)
    sys.stdout.write(
        f"{sum(claims.accurate for _, claims in found)} of {len(found)} pictures show their caption; "
        f"{sum(claims.coloured for _, claims in found)} of {shapes} things have their colour and place, "
        f"{sum(claims.formed for _, claims in found)} also their form, {sum(claims.surfaced for _, claims in found)} "
        "their surface too.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
