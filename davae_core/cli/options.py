"""What options mean: the codec's file, the device, folders to write into, and files that must not be lost."""

from pathlib import Path

from .. import mini
from ..reading.plain_text import SentenceError
from .choices import MINIATURE


def codec_path(vae: str) -> Path:
    """The file that --vae names."""
    path = Path(vae)
    return mini.davae_path() if vae == MINIATURE and not path.exists() else path


def device_of(name: str) -> str:
    """The device that --device names. Raises SentenceError for a GPU that is not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise SentenceError(
            "PyTorch finds no CUDA GPU here: leave --device out, or use --device cpu."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def folder_at(path: Path) -> Path:
    """The folder, made where there is none. Raises SentenceError for a file."""
    if path.exists() and not path.is_dir():
        raise SentenceError(f"{path} is a file, but a folder is needed: name another one with -o.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_overwriting(output: Path, *sources: Path | None) -> None:
    """Raise SentenceError when one of the files that are read is the one to write."""
    for source in filter(None, sources):
        if source.exists() and output.exists() and source.samefile(output):
            raise SentenceError(
                f"{output} is a file that this command reads: name another one with -o."
            )
