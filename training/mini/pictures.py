"""The pictures that the miniature stack is trained on: ``python -m training.mini.pictures OUT``.

Writes three folders: ``train/scenes`` (procedural, each with its caption in a .txt file),
``train/photographs`` (crops at many scales of photographs that ship in Python packages, or a folder's) and ``val``
(photographs and scenes for choosing settings). The held-out photographs appear in none of them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from davae_core.files import CheckpointError, write_atomically, write_text
from davae_core.images import image_from_pil, write_image
from davae_core.latents import crop_to_multiple

from ..pictures import scan_folders
from . import photographs, scenes, textures
from .caption_pairs import Drawn, draw_line_scene, draw_prompt_scene, draw_scene
from .pictures_config import HELD_OUT_SEED, CodecPicturesConfig, PromptScenesConfig, Style

#: Leaves and clouds carry the statistics of photographs, so the codec sees them more often.
CODEC_BACKGROUNDS = (*scenes.BACKGROUNDS, "leaves", "leaves", "leaves", "clouds")
CHOOSING_SCENES = 4
CHOOSING_SIZE = 512
CHOOSING_MULTIPLE = 32
#: Photographs are shrunk to this scale at most, and never below this side.
SMALLEST_SCALE, SHORTEST_SIDE = 0.3, 160


def write_codec_pictures(config: CodecPicturesConfig, keep: bool = False) -> Path:
    """Write everything that the codec is trained on into the folder returned.

    With ``keep`` go on after an interruption.
    """
    out, size = Path(config.folder), config.size
    write_choosing(out / "val")
    photographs_folder = out / "train" / "photographs"
    if config.photographs is None:
        write_photograph_crops(photographs_folder, config.crops, size, config.seed, keep)
    else:
        copy_photographs(Path(config.photographs).expanduser(), photographs_folder)
    _write_captioned(
        out / "train" / "scenes",
        range(config.seed, config.seed + config.scenes),
        lambda seed: draw_scene(seed, size, CODEC_BACKGROUNDS),
        keep,
    )
    return out


def write_scene_sets(config: PromptScenesConfig) -> Path:
    """Write the generator's training and held-out scenes, or those that are missing, into the folder returned."""
    out, style = Path(config.folder), config.style
    write_prompt_scenes(out / "train", config.training, config.size, 0, style, keep=True)
    write_prompt_scenes(out / "val", config.held_out, config.size, HELD_OUT_SEED, style, keep=True)
    return out


def write_prompt_scenes(
    folder: Path, count: int, size: int, seed: int, style: Style = "painted", keep: bool = False
) -> None:
    """Write the generator's scenes ``seed`` to ``seed + count - 1`` as PNG with their captions beside them.

    ``keep`` passes over those that are there, which must have been written with the same settings.
    """
    draw = draw_line_scene if style == "lines" else draw_prompt_scene
    _write_captioned(folder, range(seed, seed + count), lambda number: draw(number, size), keep)


def write_photograph_crops(
    folder: Path, count: int, size: int, seed: int, keep: bool = False
) -> None:
    """Write square crops of the training photographs, at random places, scales and exposures.

    Photographs are drawn by weight. Grey ones are often tinted, because the miniature would
    otherwise see colour only in a handful of scenes. ``keep`` passes over crops that are there, which must have been
    written with the same settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {photo.name: photographs.load(photo) for photo in photographs.TRAINING}
    weights = np.array([photo.weight for photo in photographs.TRAINING])
    for number in tqdm(range(count), desc="photographs", file=sys.stderr):
        random = np.random.default_rng([seed, number])
        choice = int(random.choice(len(weights), p=weights / weights.sum()))
        name = photographs.TRAINING[choice].name
        path = folder / f"{name}_{number:05d}.png"
        if keep and path.is_file():
            continue
        save_png(path, _vary(random, _crop(random, pictures[name], size)))


def copy_photographs(source: Path, folder: Path) -> None:
    """Copy a folder's photographs, or those that are missing, whole. Raises TrainingError when it has none."""
    found = scan_folders([str(source)], "photographs")[0].paths
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(found):
        target = folder / f"{number:05d}_{path.name}"
        if not target.exists():
            write_atomically(target, partial(shutil.copyfile, path))


def write_choosing(folder: Path) -> None:
    """Write the pictures for choosing settings; their sides are multiples of 32."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photographs.CHOOSING:
        picture = crop_to_multiple(image_from_pil(photographs.load(photo)), CHOOSING_MULTIPLE)
        write_image(folder / f"{photo.name}.png", picture)
    for number in range(HELD_OUT_SEED, HELD_OUT_SEED + CHOOSING_SCENES):
        drawn, _ = scenes.render(number, CHOOSING_SIZE)
        save_png(folder / f"scene_{number}.png", Image.fromarray(drawn))


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG so that an interrupted run leaves no half-written picture."""
    write_atomically(path, lambda beside: picture.save(beside, format="PNG", compress_level=1))


def _write_captioned(
    folder: Path, numbers: range, draw: Callable[[int], Drawn], keep: bool
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(numbers, desc="scenes", file=sys.stderr):
        path = folder / f"scene_{number:07d}.png"
        if keep and path.is_file() and path.with_suffix(".txt").is_file():
            continue
        picture, caption = draw(number)
        save_png(path, Image.fromarray(picture))
        write_text(path.with_suffix(".txt"), caption + "\n")


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
    values = textures.field_of(crop)
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
    return Image.fromarray(textures.pixels_of(values))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.mini.pictures", description=__doc__)
    usual = CodecPicturesConfig(folder=".")
    parser.add_argument("folder", metavar="out", help="folder to write train/ and val/ into")
    for name, what in (
        ("scenes", "procedural scenes"),
        ("crops", "crops of photographs"),
        ("size", "their side in pixels"),
        ("seed", "of the first scene"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    given = parser.parse_args(arguments)
    try:
        write_codec_pictures(CodecPicturesConfig(**vars(given)))
    except (CheckpointError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
