"""Reading a pretrained SD3 transformer from whatever file holds it, under Stability's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..files import CheckpointError, read_safetensors, type_name
from ..format import read_metadata, shapes_of, what_is
from ..reading.json_text import read_json
from ..reading.plain_text import is_plain, plain, shown
from .description import DESCRIPTION
from .names import EDGES, EMBEDDER, EMBEDDER_WEIGHT, QUANTISED, diffusers_to_stability

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
"""Where checkpoints keep the transformer; the empty prefix is a transformer file of its own."""
INDEX = "diffusion_pytorch_model.safetensors.index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
T = TypeVar("T")
_LONGEST_FILE_NAME = 200
"""Characters of a shard's file name; beyond 255 bytes no system has a file."""
_RANKS = (4, 1, 2, 1)
"""Of the edge layers' tensors, in their order."""


def load_transformer(path: str | Path) -> dict[str, Tensor]:
    """An SD3 transformer under Stability's names, without prefix, in the file's own dtypes.

    Takes a Stability single file, a full checkpoint, a diffusers file, or a diffusers folder (whole or its
    `transformer`, sharded or not). Raises CheckpointError for anything else and for quantised storage.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for file in transformer_weights(path):
        tensors |= _read_file(file)
    found = transformer_part(path, tensors)
    if DESCRIPTION in found:
        raise CheckpointError(
            f"{path} is a merged DA-VAE model, not a pretrained transformer: give the model it starts from."
        )
    for name, tensor in found.items():
        if name.endswith(QUANTISED) or not _is_plain(tensor):
            raise CheckpointError(
                f"{path} holds a quantised transformer ({plain(name)}), whose layers cannot be changed one by one: "
                "give the same model in float16, bfloat16 or float32."
            )
    return found


def _is_plain(tensor: Tensor) -> bool:
    return type_name(tensor.dtype) is not None and tensor.is_floating_point()


def transformer_weights(path: Path) -> list[Path]:
    """The safetensors files that `load_transformer` reads at `path`, a file or a folder. Raises CheckpointError."""
    if not path.is_dir():
        return [path]
    for place in (path, path / "transformer"):
        if (place / INDEX).is_file():
            return _shards(place)
        if (place / WEIGHTS).is_file():
            return [place / WEIGHTS]
    raise CheckpointError(
        f"The folder {path} holds no {WEIGHTS}: give a diffusers folder or a safetensors file."
    )


def _shards(folder: Path) -> list[Path]:
    try:
        weight_map = read_json(folder / INDEX)["weight_map"]
        names = {Path(file).name for file in weight_map.values()}
        if not all(is_plain(name, _LONGEST_FILE_NAME) for name in names):
            raise ValueError
        return sorted(folder / name for name in names)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{folder / INDEX} is damaged: download the folder again.") from error


def transformer_part(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The SD3 transformer among the tensors read from `path`, under Stability's names, without prefix.

    Quantised storage is handed through. Raises CheckpointError when there is no such transformer.
    """
    found = without_prefix(tensors)
    if any(name.startswith("transformer_blocks.") for name in found):
        try:
            found = diffusers_to_stability(found)
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} is no SD3 transformer ({error}): give SD3 or SD3.5."
            ) from error
    if not found.keys() >= set(EDGES.values()):
        raise CheckpointError(
            f"{path} is {what_is(shapes_of(tensors), {})}, not an SD3 transformer: give SD3 or SD3.5."
        )
    packed = any(name.endswith(QUANTISED) for name in found)
    for name, rank in zip(EDGES.values(), _RANKS, strict=True):
        ranks = {1, rank} if packed else {rank}
        if found[name].ndim not in ranks or not found[name].numel():
            raise CheckpointError(
                f"{path} is no SD3 transformer ({name} has the shape {shown(list(found[name].shape))}): give SD3 or "
                "SD3.5."
            )
    return found


def _read_file(path: Path) -> dict[str, Tensor]:
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    if described:
        raise CheckpointError(
            f"{path} is {what_is({}, described)}, not a pretrained transformer: give the model it starts from."
        )
    return tensors


def without_prefix(tensors: Mapping[str, T]) -> dict[str, T]:
    """What a file holds of a transformer, by its names there; all of the file where there is no transformer."""
    for prefix in PREFIXES:
        if any(
            prefix + embedder in tensors for embedder in (EMBEDDER_WEIGHT, f"{EMBEDDER}.weight")
        ):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return dict(tensors)
