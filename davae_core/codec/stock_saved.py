"""A DA-VAE as ComfyUI's own savers write it, alone (VAE Save) or in a checkpoint (Save Checkpoint).

They keep tensors and drop the metadata by which our files are known, so the codec's JSON goes with them as a tensor of
UTF-8 bytes, as it does in a merged model (docs/method.md, "Files").
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import METADATA_KEY, TYPE_NAMES, open_safetensors, read_tensor
from ..format import PREFIXES, check_description, damaged

DESCRIPTION = "davae.codec"
"""Name of the tensor beside the codec's own, uint8 [bytes]."""


def description_tensor(metadata: dict[str, str]) -> Tensor:
    """The codec's JSON in a file's metadata as the tensor DESCRIPTION."""
    return torch.tensor(list(metadata[METADATA_KEY].encode()), dtype=torch.uint8)


def prefix_of(names: Iterable[str]) -> str | None:
    """What stands before the names of a codec that carries its description as a tensor; None where none does."""
    known = set(names)
    return next((prefix for prefix in PREFIXES if prefix + DESCRIPTION in known), None)


def metadata_in(path: str | Path, file: Any, prefix: str) -> dict[str, str]:
    """The metadata that the tensor DESCRIPTION of an open safetensors file stands for. Raises CheckpointError."""
    part = file.get_slice(prefix + DESCRIPTION)
    try:
        check_description(tuple(part.get_shape()), str(part.get_dtype()) == TYPE_NAMES[torch.uint8])
        told = bytes(file.get_tensor(prefix + DESCRIPTION).tolist()).decode()
    except ValueError as error:
        raise damaged(path, error) from error
    return {METADATA_KEY: told}


def codec_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a codec's file, wherever in it that stands. Raises CheckpointError."""
    with open_safetensors(path) as file:
        prefix = prefix_of(file.keys())
        return dict(file.metadata() or {}) if prefix is None else metadata_in(path, file, prefix)


def read_codec_part(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a codec's file under their own names, and its metadata; a checkpoint's others are not read.

    A file without a description among its tensors is read whole. Raises CheckpointError.
    """
    with open_safetensors(path) as file:
        names = list(file.keys())
        prefix = prefix_of(names)
        if prefix is None:
            whole = {name: read_tensor(path, file, name) for name in names}
            return whole, dict(file.metadata() or {})
        own = part_under(prefix, names)
        tensors = {name: read_tensor(path, file, prefix + name) for name in own}
        return tensors, metadata_in(path, file, prefix)


def part_under(prefix: str, names: Iterable[str]) -> list[str]:
    """The codec's names behind a prefix, without the description's."""
    found = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return [name for name in found if name != DESCRIPTION]
