"""Reading a pretrained SD3 transformer from whatever file holds it, under Stability's names."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .checkpoints import read_metadata, what_is
from .files import CheckpointError, read_safetensors
from .transformer_names import diffusers_to_stability, looks_like_diffusers_transformer

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
"""Where checkpoints keep the transformer; the empty prefix is a transformer file of its own."""
INDEX = "diffusion_pytorch_model.safetensors.index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
_QUANTISED = (".scale_weight", ".comfy_quant", ".weight_scale", ".absmax", ".quant_map")


def load_transformer(path: str | Path) -> dict[str, Tensor]:
    """An SD3 transformer under Stability's names, without prefix, in the file's own dtypes.

    Takes a Stability single file, a full checkpoint, a diffusers file, or a diffusers folder (whole or its
    `transformer`, sharded or not). Raises CheckpointError for anything else and for quantised storage.
    """
    path = Path(path)
    found = transformer_part(path, _read_folder(path) if path.is_dir() else _read_file(path))
    if any(name.endswith(_QUANTISED) for name in found):
        raise CheckpointError(
            f"{path} holds a quantised transformer, whose layers cannot be changed one by one: "
            "give the same model in float16, bfloat16 or float32."
        )
    return found


def transformer_part(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The SD3 transformer among the tensors read from `path`, under Stability's names, without prefix.

    Quantised storage is handed through. Raises CheckpointError when there is no such transformer.
    """
    found = _without_prefix(tensors)
    if looks_like_diffusers_transformer(found):
        try:
            found = diffusers_to_stability(found)
        except ValueError as error:
            raise CheckpointError(
                f"{path} is no SD3 transformer ({error}): give SD3 or SD3.5."
            ) from error
    if "x_embedder.proj.weight" not in found or "final_layer.linear.bias" not in found:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise CheckpointError(
            f"{path} is {what_is(shapes, {})}, not an SD3 transformer: give SD3 or SD3.5."
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


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for place in (folder, folder / "transformer"):
        if (place / INDEX).is_file():
            return _read_shards(place)
        if (place / WEIGHTS).is_file():
            return _read_file(place / WEIGHTS)
    raise CheckpointError(
        f"The folder {folder} holds no {WEIGHTS}: give a diffusers folder or a safetensors file."
    )


def _read_shards(folder: Path) -> dict[str, Tensor]:
    try:
        files = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder / INDEX} is damaged: download the folder again.") from error
    tensors: dict[str, Tensor] = {}
    for name in sorted(files):
        tensors |= read_safetensors(folder / Path(name).name)[0]
    return tensors


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if any(
            name.startswith((f"{prefix}x_embedder.", f"{prefix}pos_embed.proj."))
            for name in tensors
        ):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return dict(tensors)
