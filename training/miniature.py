"""The pictures that the miniature stack is trained on: ``python -m training.miniature OUT``.

Writes three folders: ``train/scenes`` (procedural, each with its caption in a .txt file),
``train/photographs`` (crops at many scales of photographs that ship in Python packages) and ``val``
(photographs and scenes for choosing settings). The held-out photographs appear in none of them.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from davae_core.files import CheckpointError, write_atomically

from . import photographs, prompt_scenes, scenes, textures

#: Leaves and clouds carry the statistics of photographs, so the codec sees them more often.
CODEC_BACKGROUNDS = (*scenes.BACKGROUNDS, "leaves", "leaves", "leaves", "clouds")
#: Scenes for choosing settings have seeds that training never reaches.
CHOOSING_SEED = 1_000_000
CHOOSING_SCENES = 4
CHOOSING_SIZE = 512
CHOOSING_MULTIPLE = 32
#: Photographs are shrunk to this scale at most, and never below this side.
SMALLEST_SCALE, SHORTEST_SIDE = 0.3, 160


def write_scenes(
    folder: Path, count: int, size: int, seed: int, backgrounds: tuple[str, ...]
) -> None:
    """Write scenes ``seed`` to ``seed + count - 1`` as PNG with their captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(seed, seed + count), desc="scenes", file=sys.stderr):
        picture, scene = scenes.render(number, size, backgrounds)
        path = folder / f"scene_{number:07d}.png"
        save_png(path, Image.fromarray(picture))
        text = scenes.caption(scene)
        write_atomically(path.with_suffix(".txt"), partial(_write_text, text))


def write_prompt_scenes(folder: Path, count: int, size: int, seed: int) -> None:
    """Write the generator's scenes ``seed`` to ``seed + count - 1`` as PNG with their captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(seed, seed + count), desc="prompt scenes", file=sys.stderr):
        scene = prompt_scenes.compose(number)
        path = folder / f"scene_{number:07d}.png"
        save_png(path, Image.fromarray(prompt_scenes.render(scene, size)))
        text = prompt_scenes.caption(scene)
        write_atomically(path.with_suffix(".txt"), partial(_write_text, text))


def write_photograph_crops(folder: Path, count: int, size: int, seed: int) -> None:
    """Write square crops of the training photographs, at random places, scales and exposures.

    Photographs are drawn by weight. Grey ones are often tinted, because the miniature would
    otherwise see colour only in a handful of scenes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {photo.name: photographs.load(photo) for photo in photographs.TRAINING}
    weights = np.array([photo.weight for photo in photographs.TRAINING])
    for number in tqdm(range(count), desc="photographs", file=sys.stderr):
        random = np.random.default_rng([seed, number])
        choice = int(random.choice(len(weights), p=weights / weights.sum()))
        name = photographs.TRAINING[choice].name
        crop = _vary(random, _crop(random, pictures[name], size))
        save_png(folder / f"{name}_{number:05d}.png", crop)


def write_choosing(folder: Path) -> None:
    """Write the pictures for choosing settings; their sides are multiples of 32."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photographs.CHOOSING:
        save_png(
            folder / f"{photo.name}.png",
            floor_to_multiple(photographs.load(photo), CHOOSING_MULTIPLE),
        )
    for number in range(CHOOSING_SEED, CHOOSING_SEED + CHOOSING_SCENES):
        picture, _ = scenes.render(number, CHOOSING_SIZE)
        save_png(folder / f"scene_{number}.png", Image.fromarray(picture))


def floor_to_multiple(picture: Image.Image, multiple: int) -> Image.Image:
    """The central part of a picture whose sides are multiples of ``multiple``."""
    width, height = (side // multiple * multiple for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG so that an interrupted run leaves no half-written picture."""
    write_atomically(path, lambda beside: picture.save(beside, format="PNG", compress_level=1))


def _write_text(text: str, path: Path) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def _crop(random: np.random.Generator, picture: Image.Image, size: int) -> Image.Image:
    """A window of at most ``size`` pixels, taken anywhere from the picture at a random smaller scale."""
    short = min(picture.size)
    smallest = min(1.0, max(SMALLEST_SCALE, SHORTEST_SIDE / short))
    scale = float(np.exp(random.uniform(np.log(smallest), 0.0)))
    side = min(size, int(short * scale))
    reach = min(side / scale, short)
    left = random.uniform(0, picture.width - reach)
    top = random.uniform(0, picture.height - reach)
    window = (left, top, left + reach, top + reach)
    if scale > 0.97:
        # At full scale pixels are copied, not interpolated: the finest grain is what is scarce.
        left, top = int(left), int(top)
        return picture.crop((left, top, left + side, top + side))
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=window)


def _vary(random: np.random.Generator, crop: Image.Image) -> Image.Image:
    """Another exposure or tint, as another camera under another light would have had it."""
    values: textures.Field = np.asarray(crop, dtype=np.float32) / 255
    grey = bool(np.ptp(values, axis=-1).max() < 0.02)
    if grey and random.random() < 0.7:
        dark, bright = sorted(textures.palette(random)[:2], key=sum)
        values = textures.mix(dark, bright, (values[..., 0] - 0.5) * 1.4 + 0.5)
    elif random.random() < 0.6:
        values = values ** np.float32(np.exp(random.normal(0, 0.25)))
        values = values * random.normal(1.0, 0.12, 3).astype(np.float32)
        if random.random() < 0.3:
            values = values[..., random.permutation(3)]
    if random.random() < 0.25:
        values = np.rot90(values)
    return Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.miniature", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write train/ and val/ into")
    parser.add_argument("--scenes", type=int, default=3000, help="procedural scenes (default 3000)")
    parser.add_argument(
        "--crops", type=int, default=3000, help="crops of photographs (default 3000)"
    )
    parser.add_argument("--size", type=int, default=256, help="their side in pixels (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene (default 0)")
    given = parser.parse_args(arguments)
    try:
        write_choosing(given.out / "val")
        write_photograph_crops(
            given.out / "train" / "photographs", given.crops, given.size, given.seed
        )
        write_scenes(
            given.out / "train" / "scenes", given.scenes, given.size, given.seed, CODEC_BACKGROUNDS
        )
    except (CheckpointError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
