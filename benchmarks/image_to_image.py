"""How much of a picture image to image keeps, by `denoise`: ``python -m benchmarks.image_to_image``.

Draws scenes anew by another caption of the same background and places, with the bundled miniature and its own shift,
and prints how much noise that begins at, how alike the result and the picture stay (correlation of the base channels,
which two unrelated scenes have too), and how many results show the new caption.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from benchmarks.prompt_accuracy import FIRST_SCENE
from benchmarks.scene_checker import check
from davae_core import mini
from davae_core.cli.demo import bundled_pipeline
from davae_core.flow import shifted_sigmas
from davae_core.images import from_bytes, image_to_pil
from davae_core.pipeline import TextToImage
from training.mini.prompt_scenes import SHAPE_COLOURS, PromptScene, caption, compose, render

LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIDE, BATCH = 256, 8


@dataclass(frozen=True)
class Kept:
    """Means over the scenes at one `denoise`: the level it begins at, the likeness, and the share of captions shown."""

    denoise: float
    noise: float
    likeness: float
    shown: float


def other_colours(scene: PromptScene) -> PromptScene:
    """The same scene in the next colours of the list."""
    following = dict(zip(SHAPE_COLOURS, [*SHAPE_COLOURS[1:], SHAPE_COLOURS[0]], strict=True))
    shapes = [replace(found, colour=following[found.colour]) for found in scene.shapes]
    return replace(scene, shapes=tuple(shapes))


def squares(count: int) -> list[PromptScene]:
    """Square scenes that nothing was trained on."""
    drawn = (compose(FIRST_SCENE + number) for number in range(20 * count))
    return [scene for scene in drawn if scene.format == "square"][:count]


def measure(pipeline: TextToImage, scenes: Sequence[PromptScene], denoise: float) -> Kept:
    """Every scene drawn anew in other colours."""
    alike, shown = [], 0
    for batch in _batches(scenes):
        wanted = [other_colours(scene) for scene in batch]
        start = pipeline.codec.encode(_pixels(batch))
        drawn = pipeline.draw_latents(
            [caption(scene) for scene in wanted], SIDE, SIDE, start=start, denoise=denoise
        )
        channels = pipeline.description.layout.base_channels
        for one, other in zip(drawn[:, :channels], start[:, :channels], strict=True):
            alike.append(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]))
        for scene, picture in zip(wanted, pipeline.codec.decode(drawn), strict=True):
            shown += check(np.asarray(image_to_pil(picture)), scene).accurate
    advice = pipeline.description.advice
    level = shifted_sigmas(int(advice.steps / denoise), advice.shift)[-(advice.steps + 1)]
    return Kept(denoise, float(level), sum(alike) / len(alike), shown / len(scenes))


def _pixels(scenes: Sequence[PromptScene]) -> Tensor:
    pixels = np.stack([render(scene, SIDE) for scene in scenes])
    return from_bytes(rearrange(torch.from_numpy(pixels), "b h w c -> b c h w"))


def _batches(scenes: Sequence[PromptScene]) -> Iterator[Sequence[PromptScene]]:
    for first in range(0, len(scenes), BATCH):
        yield scenes[first : first + BATCH]


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.image_to_image", description=__doc__
    )
    parser.add_argument("--pictures", type=int, default=24, help="how many (default 24)")
    given = parser.parse_args(arguments)
    pipeline = bundled_pipeline(mini.adapter_path())
    scenes = squares(given.pictures)
    sys.stdout.write(
        "| denoise | begins at noise | likeness | captions shown |\n|---|---|---|---|\n"
    )
    for denoise in LEVELS:
        kept = measure(pipeline, scenes, denoise)
        sys.stdout.write(
            f"| {kept.denoise:g} | {kept.noise:.2f} | {kept.likeness:.2f} | {kept.shown:.2f} |\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
