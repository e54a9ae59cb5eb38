"""The commands that take pictures and latents: demo, encode, decode, reconstruct. Everything is computed in float32."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..codec.autoencoder import Codec
from ..codec.files import load_codec
from ..codec.latent_files import load_latents, save_latents
from ..images import ImageError, read_image, write_image, write_png
from ..latents import crop_to_multiple, token_count
from ..presets import PATCH
from ..reading.plain_text import SentenceError
from . import demo
from .comparison import DAVAE, compare
from .comparison_report import report, table, write_report
from .contact_sheet import contact_sheet
from .options import codec_path, device_of, folder_at, refuse_overwriting
from .terminal import counting, note, picture_bar, say


def run_demo(options: argparse.Namespace) -> None:
    """`davae demo`."""
    folder = folder_at(options.output)
    sys.stdout.write(demo.run(folder, picture_bar))
    note(f"{folder / demo.SHEET}, {demo.GRID} and {demo.REPORT} are written.")


@torch.inference_mode()
def run_encode(options: argparse.Namespace) -> None:
    """`davae encode`."""
    refuse_overwriting(options.output, options.image, codec_path(options.vae))
    codec = _codec(options)
    picture = _picture(options.image, codec)
    with counting("tile") as progress:
        latents = (
            codec.encode_tiled(picture, progress=progress)
            if options.tiled
            else codec.encode(picture)
        )
    save_latents(options.output, latents, codec.layout, codec_path(options.vae))
    height, width = picture.shape[-2:]
    say(
        f"{options.output}: latent {list(latents.shape[1:])} of {width}x{height} pixels, "
        f"{token_count(width, height, codec.layout, PATCH)} tokens at patch size {PATCH}."
    )


@torch.inference_mode()
def run_decode(options: argparse.Namespace) -> None:
    """`davae decode`."""
    refuse_overwriting(options.output, options.latent, codec_path(options.vae))
    codec = _codec(options)
    latents = load_latents(options.latent, codec, codec_path(options.vae))
    if latents.shape[0] != 1:
        raise SentenceError(
            f"{options.latent} holds {latents.shape[0]} latents: give a file with one."
        )
    if options.draft:
        picture = codec.decode_base(latents)
    else:
        with counting("tile") as progress:
            picture = (
                codec.decode_tiled(latents, progress=progress)
                if options.tiled
                else codec.decode(latents)
            )
    write_image(options.output, picture)
    say(f"{options.output}: {picture.shape[-1]}x{picture.shape[-2]} pixels.")


def run_reconstruct(options: argparse.Namespace) -> None:
    """`davae reconstruct`."""
    _refuse_same_stems(options.images)
    for path in options.images:
        for output in _reconstructions(options.output, path):
            refuse_overwriting(output, *options.images)
    codec = _codec(options)
    folder = folder_at(options.output)
    found = []
    for path in picture_bar(options.images):
        comparison = compare(path.stem, _picture(path, codec), codec, tiled=options.tiled)
        picture, sheet = _reconstructions(folder, path)
        write_image(picture, comparison.rebuilt[DAVAE])
        write_png(sheet, contact_sheet([comparison], path.name, f"codec: {options.vae}"))
        found.append(comparison.scores)
    write_report(folder / "report.json", report(found, {"davae": str(options.vae)}))
    sys.stdout.write(table(found))


def _codec(options: argparse.Namespace) -> Codec:
    return load_codec(codec_path(options.vae), device_of(options.device), torch.float32)


def _picture(path: Path, codec: Codec) -> Tensor:
    """The picture at `path`, cropped centrally to what the codec takes, as ComfyUI does; says so when it cuts."""
    picture = read_image(path)
    try:
        cropped = crop_to_multiple(picture, codec.layout.factor)
    except ValueError as error:
        raise ImageError(f"{path} is too small for this DA-VAE: {error}") from error
    if cropped.shape != picture.shape:
        height, width = picture.shape[-2:]
        note(
            f"{path}: cropped from {width}x{height} to {cropped.shape[-1]}x{cropped.shape[-2]} pixels."
        )
    weight: Tensor = next(codec.parameters())
    return cropped.to(weight.device)


def _reconstructions(folder: Path, image: Path) -> tuple[Path, Path]:
    return folder / f"{image.stem}_davae.png", folder / f"{image.stem}_comparison.png"


def _refuse_same_stems(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise SentenceError(
                f"{seen[path.stem]} and {path} would be written under one name: rename one, or use two calls."
            )
        seen[path.stem] = path
