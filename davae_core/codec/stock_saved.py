"""A DA-VAE as ComfyUI's own savers write it, alone (VAE Save) or in a checkpoint (Save Checkpoint).

They keep tensors and drop the metadata by which our files are known, so the codec's JSON goes with them as a tensor of
UTF-8 bytes, as it does in a merged model (docs/method.md, "Files").
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import BYTES, HEADER, METADATA_KEY, open_safetensors, read_shapes, read_tensor
from ..format import PREFIXES, check_description, damaged

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = "davae.codec"
"""Name of the tensor beside the codec's own, uint8 [bytes]."""


def description_tensor(metadata: dict[str, str]) -> Tensor:
    """The codec's JSON in a file's metadata as the tensor DESCRIPTION."""
    import torch

    return torch.tensor(list(metadata[METADATA_KEY].encode()), dtype=torch.uint8)


def prefix_of(names: Iterable[str]) -> str | None:
    """What stands before the names of a codec that carries its description as a tensor; None where none does."""
    known = set(names)
    return next((prefix for prefix in PREFIXES if prefix + DESCRIPTION in known), None)


def metadata_in(path: str | Path, file: Any, prefix: str) -> dict[str, str]:
    """The metadata that the tensor DESCRIPTION of an open safetensors file stands for. Raises CheckpointError."""
    part = file.get_slice(prefix + DESCRIPTION)
    try:
        check_description(tuple(part.get_shape()), str(part.get_dtype()) == BYTES)
        told = bytes(file.get_tensor(prefix + DESCRIPTION).tolist()).decode()
    except ValueError as error:
        raise damaged(path, error) from error
    return {METADATA_KEY: told}


def codec_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of a codec's tensors under their own names, and its metadata, wherever in the file they stand.

    Of a file without a description among its tensors those of all tensors, and its own. No weights are read. Raises
    CheckpointError.
    """
    found, metadata = read_shapes(path)
    prefix = prefix_of(found)
    if prefix is None:
        return {name: shape for name, (shape, _) in found.items()}, metadata
    with open_safetensors(path, HEADER) as file:
        metadata = metadata_in(path, file, prefix)
    return {name: found[prefix + name][0] for name in part_under(prefix, found)}, metadata


def codec_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a codec's file, wherever in it that stands. Raises CheckpointError."""
    return codec_header(path)[1]


def read_codec_part(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a codec's file under their own names; a checkpoint's others are not read.

    A file without a description among its tensors is read whole. Raises CheckpointError.
    """
    with open_safetensors(path) as file:
        names = list(file.keys())
        prefix = prefix_of(names)
        own = names if prefix is None else part_under(prefix, names)
        return {name: read_tensor(path, file, (prefix or "") + name) for name in own}


def part_under(prefix: str, names: Iterable[str]) -> list[str]:
    """The codec's names behind a prefix, without the description's."""
    found = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return [name for name in found if name != DESCRIPTION]
