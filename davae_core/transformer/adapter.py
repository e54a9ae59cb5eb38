"""The adapter: what turns a pretrained transformer into one that draws with detail channels.

One safetensors file in stock LoRA key names (docs/method.md, "Adapters"): a LoRA, and the difference of the patch
embedder and the output head from the zero-widened base. It applies to a widened model only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..files import (
    METADATA_KEY,
    CheckpointError,
    read_safetensors,
    require_finite,
    write_safetensors,
)
from ..format import KIND_ADAPTER, check_weights, shapes_of
from ..latents import LatentLayout
from ..reading.plain_text import plain, shown
from .description import Advice, Mode, ModelDescription, describe_file, not_whole
from .names import DOWN as DOWN
from .names import EDGES
from .names import UP as UP
from .widened_model import widen_model

PREFIX = "transformer."
_DIFFERENCES = {
    name: PREFIX + name.replace(".weight", ".diff").replace(".bias", ".diff_b") for name in EDGES
}
"""The adapter's key of each edge tensor, which goes by diffusers' name."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA and the edge layers' differences.

    `lora`: `<diffusers layer>.lora_A.weight` [r, in] and `.lora_B.weight` [out, r] (scale alpha / r already in B).
    `edges`: the keys of names.EDGES, each minus the zero-widened base, base channels first.
    `parents`: by role, as in description.ModelDescription; `base` and `vae` where known. `mode`: what it draws.
    """

    layout: LatentLayout
    lora: dict[str, Tensor]
    edges: dict[str, Tensor]
    advice: Advice = field(default_factory=Advice)
    parents: dict[str, str] = field(default_factory=dict)
    mode: Mode = "joint"


def widened_edges(base: Mapping[str, Tensor], layout: LatentLayout) -> dict[str, Tensor]:
    """The zero-widened edge tensors of a base (Stability names), under the keys of names.EDGES, float32.

    Raises ValueError when the base does not have the layout's base channels.
    """
    wide = widen_model({name: base[name].float() for name in EDGES.values()}, layout)
    return {name: wide[target] for name, target in EDGES.items()}


def write_adapter(path: str | Path, adapter: Adapter) -> None:
    """Write an adapter file. Raises CheckpointError when it cannot or for NaN, ValueError when it is not whole."""
    check_adapter(adapter)
    tensors = {PREFIX + name: tensor for name, tensor in adapter.lora.items()}
    tensors |= {_DIFFERENCES[name]: tensor for name, tensor in adapter.edges.items()}
    require_finite(path, tensors)
    described = ModelDescription(
        adapter.layout, adapter.advice, adapter.parents, KIND_ADAPTER, adapter.mode
    )
    write_safetensors(path, tensors, {METADATA_KEY: json.dumps(described.as_json())})


def read_adapter(path: str | Path) -> Adapter:
    """Read an adapter file. Raises CheckpointError for anything else, saying what it is."""
    tensors, metadata = read_safetensors(path)
    found = describe_file(path, shapes_of(tensors), metadata)
    if found.kind != KIND_ADAPTER:
        raise CheckpointError(
            f"{path} is a merged DA-VAE model, which needs no adapter: use it as it is, or pick an adapter."
        )
    check_weights(path, tensors, coarse=True)
    edges = {name: tensors.pop(key) for name, key in _DIFFERENCES.items() if key in tensors}
    try:
        lora = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        adapter = Adapter(found.layout, lora, edges, found.advice, found.parents, found.mode)
        check_adapter(adapter)
    except ValueError as error:
        raise not_whole(path, found.kind, error) from error
    return adapter


def check_adapter(adapter: Adapter) -> None:
    """Raise ValueError unless every LoRA layer is a pair that fits and the edges have the layout's channels."""
    for name in adapter.lora:
        if not name.endswith((DOWN, UP)):
            raise ValueError(f"{plain(name)} is no part of a LoRA")
        layer = name.removesuffix(DOWN).removesuffix(UP)
        called = plain(layer)
        if f"{layer}.weight" in EDGES:
            raise ValueError(f"{called} is an edge layer and cannot be a LoRA too")
        down, up = adapter.lora.get(layer + DOWN), adapter.lora.get(layer + UP)
        if down is None or up is None:
            raise ValueError(f"{called} lacks {'lora_A' if down is None else 'lora_B'}")
        if (down.ndim, up.ndim) != (2, 2) or up.shape[1] != down.shape[0]:
            raise ValueError(
                f"{called} has lora_A {shown(list(down.shape))} and lora_B {shown(list(up.shape))}"
            )
    missing = EDGES.keys() - adapter.edges.keys()
    if missing:
        raise ValueError(f"{min(missing)} is missing")
    patch, patch_bias, head, head_bias = (adapter.edges[name] for name in EDGES)
    channels = adapter.layout.channels
    fits = (
        patch.ndim == 4
        and patch.shape[1] == channels
        and patch_bias.shape == patch.shape[:1]
        and head.ndim == 2
        and head.shape[0] == channels * patch.shape[2] * patch.shape[3]
        and head_bias.shape == head.shape[:1]
    )
    if not fits:
        shapes = ", ".join(f"{name} {list(adapter.edges[name].shape)}" for name in EDGES)
        raise ValueError(f"edge layers of {channels} channels cannot have the shapes {shapes}")
