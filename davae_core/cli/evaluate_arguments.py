"""What `davae evaluate` takes; without PyTorch, as all arguments are read."""

import argparse
from pathlib import Path

from ..evaluation.names import NEVER_BEST, REPORT, SCORES
from .choices import MINIATURE, add_device

TYPES = ("float32", "bfloat16", "float16")
"""What --dtype may say, in PyTorch's names."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Let the command take what it takes."""
    command.description = (
        "Judges what is given, each beside the others, and names the best. An adapter or a merged model draws the "
        "captions, a DA-VAE rebuilds the real pictures, a folder of pictures is judged as it is; the folder of a run "
        "stands for every adapter beside its checkpoints. Pictures that a call before has made are kept. Scores whose "
        "network is not given are left out, and that is said; nothing is downloaded."
    )
    command.add_argument(
        "subjects",
        type=Path,
        nargs="*",
        metavar="SUBJECT",
        help="folders of pictures, DA-VAEs, adapters, merged models, folders of runs (default: the DA-VAE of --vae)",
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"folder for the pictures and {REPORT}",
    )
    command.add_argument("--real", type=Path, metavar="DIR", help="real pictures to compare with")
    command.add_argument(
        "--square",
        type=_side,
        metavar="SIDE",
        help="bring the real pictures to SIDE x SIDE pixels, their middle, as ImageNet's are judged",
    )
    command.add_argument(
        "--rebuilt",
        action="store_true",
        help="a folder's pictures are the real ones rebuilt, name by name: PSNR, SSIM and LPIPS too",
    )
    _add_networks(command)
    _add_drawing(command)
    command.add_argument(
        "--best-by",
        choices=[name for name in SCORES if name not in NEVER_BEST],
        help="the score that says which is best (default: the first that all have)",
    )
    command.add_argument(
        "--tiled", action="store_true", help="a DA-VAE rebuilds in overlapping tiles: less memory"
    )
    add_device(command)


def _add_networks(command: argparse.ArgumentParser) -> None:
    networks = command.add_argument_group("networks, from local files")
    networks.add_argument(
        "--inception",
        type=Path,
        metavar="FILE",
        help="torch-fidelity's Inception, for FID, KID, IS, precision and recall",
    )
    networks.add_argument(
        "--clip",
        type=Path,
        metavar="DIR",
        help="a CLIP as transformers keeps it, for the CLIP score",
    )
    networks.add_argument(
        "--lpips", type=Path, metavar="FILE", help="torchvision's VGG-16 or AlexNet, for LPIPS"
    )


def _add_drawing(command: argparse.ArgumentParser) -> None:
    drawing = command.add_argument_group("drawing captions")
    drawing.add_argument(
        "--captions",
        type=Path,
        metavar="PATH",
        help="a text file, one caption a line, or a cache, whose captions and text states are taken",
    )
    drawing.add_argument(
        "--base", type=Path, metavar="PATH", help=f"the pretrained transformer, or {MINIATURE}"
    )
    drawing.add_argument("--vae", metavar="FILE", help=f"the DA-VAE, or {MINIATURE}")
    drawing.add_argument(
        "--text",
        type=Path,
        metavar="PATH",
        help="text encoders: a diffusers pipeline's folder or a miniature CLIP (default: the cache's states, else "
        "those in --base)",
    )
    drawing.add_argument(
        "--size",
        type=_size,
        metavar="PX",
        help="such as 1024 or 832x1216 (default: the first trained)",
    )
    for name, kind in (("steps", _count), ("guidance", float)):
        drawing.add_argument(f"--{name}", type=kind, help="default: the model's own advice")
    drawing.add_argument("--seed", type=int, default=0, help="of the first picture (default: 0)")
    drawing.add_argument("--count", type=_count, help="draw only the first so many captions")
    drawing.add_argument(
        "--batch", type=_count, default=4, help="pictures drawn at a time (default: 4)"
    )
    drawing.add_argument("--dtype", choices=TYPES, help="default: bfloat16 on a GPU, else float32")


def _size(text: str) -> tuple[int, int]:
    """Width and height."""
    sides = text.split("x")
    if len(sides) not in (1, 2) or not all(side.isdecimal() and int(side[:7]) for side in sides):
        raise argparse.ArgumentTypeError(f"{text} is no size such as 1024 or 832x1216")
    return int(sides[0]), int(sides[-1])


def _side(text: str) -> int:
    if not text.isdecimal() or not 16 <= int(text[:9]) <= 4096:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 16 to 4096")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)
