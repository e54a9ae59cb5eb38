"""What every file of ours says of itself, and what any file is (docs/method.md, "Files").

Every file but a plain transformer and a preview decoder is safetensors with a JSON object under the metadata key
"davae": kind, format_version and by kind layout, backbone, stem_order and the hashes of its parents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import (
    METADATA_KEY,
    CheckpointError,
    reason_of,
    require_finite,
    type_name,
    write_safetensors,
)
from .layout import LatentLayout
from .reading.json_text import parse_json
from .reading.plain_text import is_plain, plain, shown
from .reading.typed import build

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
KIND_CODEC = "vae"
KIND_BASE_VAE = "base_vae"
KIND_LATENT = "latent"
SAMPLES = "samples"
"""The one tensor of a stored latent."""
KIND_TEXT_ENCODER = "text_encoder"
PREFIXES = ("first_stage_model.", "vae.", "")
"""Where a stock checkpoint keeps its VAE; the empty prefix is a VAE file of its own."""
KIND_ADAPTER, KIND_MERGED = "adapter", "merged"
KIND_CLASS_MODEL = "class_model"
LARGEST_DESCRIPTION = 2**16
"""Bytes of the JSON that a file says of itself; an adapter's has two thousand."""
_HEXADECIMAL = re.compile(r"[0-9a-f]{1,128}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{0,4000}={0,2}")
_PARENTS = {
    "base": _BASE64,
    "vae": _HEXADECIMAL,
    "base_encoder": _HEXADECIMAL,
    "adapter": _HEXADECIMAL,
}
"""What the parents are known by: fingerprint.base_fingerprint or a hash; others, such as base_name, by plain text."""


def read_metadata(path: str | Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Our JSON from a file's metadata, {} when there is none: no text in it is anything but plain.

    Raises CheckpointError when it is damaged or too new.
    """
    if METADATA_KEY not in metadata:
        return {}
    try:
        found = parse_described(metadata[METADATA_KEY])
    except ValueError as error:
        raise damaged(path, error) from error
    if found["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written in format {shown(found['format_version'])}, this version reads up to "
            f"{FORMAT_VERSION}: update DA-VAE."
        )
    return found


def parse_described(text: str | bytes) -> dict[str, Any]:
    """Our JSON, the envelope checked: kind, format_version, parents, and that every text can be shown.

    Raises ValueError, with the reason, when it is damaged.
    """
    if len(text) > LARGEST_DESCRIPTION:
        raise ValueError(f"it has more than {LARGEST_DESCRIPTION >> 10} KiB")
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError("it has no keys")
    version = found.get("format_version")
    if not isinstance(found.get("kind"), str) or type(version) is not int:
        raise ValueError("it does not say its kind and its format")
    for key in ("layout", "backbone", "parents"):
        if not isinstance(found.get(key, {}), dict):
            raise ValueError(f"{key} is {shown(found[key])}, but it must have keys")
    if "encoding" in found and not _is_hash(found["encoding"]):
        raise ValueError(f"encoding is {shown(found['encoding'])}, but it must be a hash")
    check_parents(found.get("parents", {}))
    _check_texts({key: value for key, value in found.items() if key != "parents"})
    return found


def check_description(shape: tuple[int, ...], are_bytes: bool) -> None:
    """Raise ValueError unless a tensor can be our JSON, before it is read: one number can ask for gigabytes."""
    if not are_bytes or len(shape) != 1 or shape[0] > LARGEST_DESCRIPTION:
        raise ValueError(
            f"it is no row of at most {LARGEST_DESCRIPTION} bytes but of the shape {shown(list(shape))}"
        )


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HEXADECIMAL.fullmatch(value))


def check_parents(parents: Mapping[str, Any]) -> None:
    """Raise ValueError unless every parent is known by what it should be: a hash, a fingerprint or a plain name."""
    for role, known_by in parents.items():
        pattern = _PARENTS.get(role)
        fits = is_plain if pattern is None else pattern.fullmatch
        if not (is_plain(role) and isinstance(known_by, str) and fits(known_by)):
            wanted = "a name that can be shown" if pattern is None else "a hash"
            raise ValueError(f"parents.{plain(role)} is {shown(known_by)}, but it must be {wanted}")


def _check_texts(value: Any) -> None:
    """Raise ValueError for a text, be it a key, that cannot be shown anywhere; parse_json has bounded the depth."""
    if isinstance(value, str) and not is_plain(value):
        raise ValueError(f"it says {shown(value)}, which cannot be shown as it is")
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    for part in parts if isinstance(parts, list) else ():
        _check_texts(part)


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
    """A DA-VAE's layout in our JSON. Raises ValueError when it is damaged."""
    return build(LatentLayout, values).require_detail()


def check_weights(path: str | Path, tensors: Mapping[str, Tensor], coarse: bool = False) -> None:
    """Raise CheckpointError unless all tensors are of numbers that weights can be; `coarse`: float8 too."""
    for name, tensor in tensors.items():
        right = type_name(tensor.dtype) is not None and tensor.is_floating_point()
        if not right or (tensor.element_size() < 2 and not coarse):
            raise CheckpointError(
                f"{path} holds {plain(name)} as {str(tensor.dtype).removeprefix('torch.')}, which is no type of "
                "weights here: write it in float32, float16 or bfloat16."
            )


def numbers_in(names: Iterable[str], pattern: str) -> set[int]:
    """The numbers, of at most six digits, that the one group of `pattern` takes in the names that begin with it."""
    found = (re.match(pattern, name) for name in names)
    return {int(match[1]) for match in found if match is not None and len(match[1]) <= 6}


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
        KIND_CLASS_MODEL: "a class-conditional model",
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
    if {"y_embedder.embedding_table.weight", "final_layer.linear.weight"} <= names:
        return "a LightningDiT"
    if any("joint_blocks." in name or "transformer_blocks." in name for name in names):
        return "a diffusion transformer"
    if "text_model.embeddings.token_embedding.weight" in names:
        width = shapes["text_model.embeddings.token_embedding.weight"][-1:]
        return f"a CLIP text encoder of width {width[0] if width else 0}"
    if any(name.startswith("encoder.block.") for name in names):
        return "a T5 text encoder"
    return "an unknown kind of file" if names else "a file without tensors"
