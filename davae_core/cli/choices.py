"""What options mean: a device, a folder to write into, the bundled miniature by its word."""

import argparse
from pathlib import Path

import torch

from .. import mini
from ..reading.plain_text import SentenceError

MINIATURE = "mini"
"""The word that stands for the bundled miniature where a DA-VAE or its plain VAE is asked for."""


def add_device(command: argparse.ArgumentParser) -> None:
    """Let a command take --device."""
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def chosen_device(name: str) -> str:
    """The device of --device auto, cpu or cuda. Raises SentenceError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SentenceError(
            "PyTorch finds no CUDA GPU here: leave --device out, or use --device cpu."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def output_folder(path: Path) -> Path:
    """The folder, made if need be. Raises SentenceError for a file."""
    if path.exists() and not path.is_dir():
        raise SentenceError(f"{path} is a file, but a folder is needed: name another one with -o.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def codec_path(text: str) -> Path:
    """The DA-VAE that --vae names: a file, or the bundled one."""
    path = Path(text)
    return mini.davae_path() if text == MINIATURE and not path.exists() else path
