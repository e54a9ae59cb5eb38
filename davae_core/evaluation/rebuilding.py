"""A codec rebuilds a folder of photographs: pictures that are there already stay."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codec.autoencoder import Codec
from ..codec.files import load_codec
from ..codec.latent_files import encoding_hash
from ..images import from_bytes, write_image
from .kept import open_folder
from .pictures import PictureSet
from .progress import Progress
from .subjects import Subject


@torch.inference_mode()
def rebuild(
    subject: Subject, real: PictureSet, tiled: bool, device: str, folder: Path, progress: Progress
) -> tuple[PictureSet, PictureSet, dict[str, Any]]:
    """Send the real pictures through the codec into `folder`, but for those that are there already.

    Returns what was rebuilt, the real pictures cut to what the codec takes, by the same names, and what the pictures
    were made with. Raises CheckpointError, ImageError or SentenceError.
    """
    made_with = {
        "codec": subject.sha256,
        "vae": encoding_hash(subject.path),
        "tiled": tiled,
        "photographs": _digest(real),
        "square": real.square,
    }
    open_folder(folder, made_with)
    codec = load_codec(subject.path, device, torch.float32)
    cut = replace(real, multiple=codec.layout.factor)
    files = {name: folder / f"{name}.png" for name in real.files}
    missing = [name for name, path in files.items() if not path.is_file()]
    for name in progress(missing, f"rebuilding with {subject.name}"):
        picture = from_bytes(cut.read(name))[None].to(device)
        files[name].parent.mkdir(parents=True, exist_ok=True)
        write_image(files[name], _through(codec, picture, tiled))
    return PictureSet(files), cut, made_with


def _through(codec: Codec, picture: Tensor, tiled: bool) -> Tensor:
    if tiled:
        return codec.decode_tiled(codec.encode_tiled(picture))
    return codec.decode(codec.encode(picture))


def _digest(real: PictureSet) -> str:
    """A hash of the photographs' names and sizes in bytes."""
    told = "\n".join(f"{path.stat().st_size} {name}" for name, path in real.files.items())
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
