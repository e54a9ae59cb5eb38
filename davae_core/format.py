"""What every file of ours says of itself, and what any file is (docs/method.md, "Files").

Every file but a plain transformer and a preview decoder is safetensors with a JSON object under the metadata key
"davae": kind, format_version and by kind layout, backbone, stem_order and the hashes of its parents.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from .files import METADATA_KEY, CheckpointError, reason_of, require_finite, write_safetensors
from .latents import LatentLayout

FORMAT_VERSION = 1
KIND_CODEC = "vae"
KIND_BASE_VAE = "base_vae"
KIND_LATENT = "latent"
KIND_TEXT_ENCODER = "text_encoder"
PREFIXES = ("first_stage_model.", "vae.", "")
"""Where a stock checkpoint keeps its VAE; the empty prefix is a VAE file of its own."""
KIND_ADAPTER, KIND_MERGED = "adapter", "merged"


class Described(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Config = TypeVar("Config", bound=Described)


def read_metadata(path: str | Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Our JSON from a file's metadata, {} when there is none. Raises CheckpointError when it is damaged or too new."""
    if METADATA_KEY not in metadata:
        return {}
    try:
        found: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise CheckpointError(
            f"{path} has damaged DA-VAE metadata: download or write it again."
        ) from error
    if not _is_ours(found):
        raise CheckpointError(f"{path} has damaged DA-VAE metadata: download or write it again.")
    if found["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written in format {found['format_version']}, this version reads up to {FORMAT_VERSION}: "
            "update DA-VAE."
        )
    return found


def _is_ours(found: Any) -> bool:
    """Whether the JSON has our shape: the right kind of value under every key that is there."""
    return (
        isinstance(found, dict)
        and isinstance(found.get("format_version"), int)
        and isinstance(found.get("kind"), str)
        and all(isinstance(found.get(key, {}), dict) for key in ("layout", "backbone", "parents"))
    )


def write_described(
    path: str | Path, tensors: Mapping[str, Tensor], kind: str, described: Mapping[str, Any]
) -> None:
    """Write tensors with our JSON in the metadata. Raises CheckpointError when it cannot, and for NaN."""
    require_finite(path, tensors)
    told = {"kind": kind, "format_version": FORMAT_VERSION, **described}
    write_safetensors(path, tensors, {METADATA_KEY: json.dumps(told)})


def damaged(path: str | Path, error: Exception) -> CheckpointError:
    """The sentence for a file whose description is damaged in the way `error` says."""
    return CheckpointError(
        f"{path} has damaged DA-VAE metadata ({reason_of(error)}): download or write it again."
    )


def layout_from(values: Mapping[str, Any]) -> LatentLayout:
    """A DA-VAE's layout in our JSON. Raises TypeError or ValueError when it is damaged."""
    return dataclass_from(LatentLayout, values).require_detail()


def dataclass_from(kind: type[Config], values: Mapping[str, Any]) -> Config:
    arguments: dict[str, Any] = {
        field.name: tuple(found) if isinstance(found, list) else found
        for field in fields(kind)
        if (found := values.get(field.name)) is not None
    }
    return kind(**arguments)


def numbers_in(names: Iterable[str], pattern: str) -> set[int]:
    """The numbers that the one group of `pattern` takes in the names that begin with it."""
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def what_is(shapes: Mapping[str, tuple[int, ...]], described: Mapping[str, Any]) -> str:
    """A few words for what a file holds, from its metadata or its tensor names; used in error sentences."""
    kinds = {
        KIND_CODEC: "a DA-VAE",
        KIND_BASE_VAE: "a plain base VAE",
        KIND_LATENT: "a stored latent",
        KIND_TEXT_ENCODER: "a miniature CLIP text encoder",
        KIND_ADAPTER: "a DA-VAE adapter",
        KIND_MERGED: "a merged DA-VAE model",
    }
    if described.get("kind") in kinds:
        return kinds[described["kind"]]
    names = shapes.keys()
    for prefix in PREFIXES:
        if len(shapes.get(f"{prefix}decoder.conv_in.weight", ())) == 4:
            channels = shapes[f"{prefix}decoder.conv_in.weight"][1]
            where = (
                "a full checkpoint with a VAE" if prefix == "first_stage_model." else "a plain VAE"
            )
            return f"{where} of {channels} latent channels"
    if "taesd_decoder.1.weight" in names or (
        {"0.weight", "1.weight"} & names and any(name.endswith(".conv.0.weight") for name in names)
    ):
        return "a small VAE"
    if any(
        name.endswith(("lora_A.weight", "lora_down.weight", "lora_up.weight")) for name in names
    ):
        return "a LoRA"
    if any(name.endswith("davae.description") for name in names):
        return kinds["merged"]
    if any("joint_blocks." in name or "transformer_blocks." in name for name in names):
        return "a diffusion transformer"
    if "text_model.embeddings.token_embedding.weight" in names:
        width = shapes["text_model.embeddings.token_embedding.weight"][-1]
        return f"a CLIP text encoder of width {width}"
    if any(name.startswith("encoder.block.") for name in names):
        return "a T5 text encoder"
    return "an unknown kind of file" if names else "a file without tensors"
