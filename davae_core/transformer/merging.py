"""A base and an adapter -> the widened model as one file, under Stability's names (docs/method.md, "Adapters")."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..files import (
    METADATA_KEY,
    CheckpointError,
    not_finite,
    reason_of,
    require_finite,
    stream_safetensors,
    value_hash,
)
from ..reading.plain_text import plain, shown
from .adapter import DOWN, UP, Adapter, read_adapter, widened_edges
from .description import DESCRIPTION, ModelDescription, description_tensor
from .fingerprint import require_same_base
from .names import EDGES, Place, count_blocks, place_of, swap_halves
from .pretrained import load_transformer
from .widened_model import is_widened

FP8 = torch.float8_e4m3fn
"""Of the storage types, the one that is too coarse for anything but the blocks' matrices."""


@dataclass(frozen=True)
class Merge:
    """What merging changes: whole edge tensors (float32), and the LoRA layers that go into each other tensor.

    Both are under Stability's names; everything else of `base` stays.
    """

    base: Mapping[str, Tensor]
    adapter: Adapter
    edges: dict[str, Tensor]
    layers: dict[str, list[tuple[str, Place]]]


def plan_merge(base: Mapping[str, Tensor], adapter: Adapter) -> Merge:
    """Find each change's place and check its shape; `base` is under Stability's names.

    Raises ValueError, naming the layer, when the adapter does not fit the base.
    """
    edges = {}
    for name, wide in widened_edges(base, adapter.layout).items():
        if wide.shape != adapter.edges[name].shape:
            raise ValueError(
                f"the adapter's {name} has shape {list(adapter.edges[name].shape)}, "
                f"the widened base's {list(wide.shape)}"
            )
        edges[EDGES[name]] = wide + adapter.edges[name].float()
    blocks = count_blocks(base)
    layers: dict[str, list[tuple[str, Place]]] = {}
    for name in adapter.lora:
        if not name.endswith(DOWN):
            continue
        layer = name.removesuffix(DOWN)
        place = place_of(layer, blocks)
        target = "" if place is None else f"{place.layer}.weight"
        if place is None or target not in base:
            raise ValueError(f"the adapter changes {plain(layer)}, which this base does not have")
        _check_shape(layer, place, adapter, base[target])
        layers.setdefault(target, []).append((layer, place))
    return Merge(base, adapter, edges, layers)


def plan_files(
    base_path: Path, base: Mapping[str, Tensor], adapter_path: Path, adapter: Adapter
) -> Merge:
    """`plan_merge` of what was read from files. Raises CheckpointError, naming both, when they do not fit."""
    try:
        return plan_merge(base, adapter)
    except ValueError as error:
        raise CheckpointError(
            f"The adapter {adapter_path} does not fit {base_path} ({reason_of(error)}): "
            "pick the model it was trained on."
        ) from error


def _check_shape(layer: str, place: Place, adapter: Adapter, target: Tensor) -> None:
    found = [adapter.lora[layer + UP].shape[0], adapter.lora[layer + DOWN].shape[1]]
    wanted = list(target.shape)
    thirds = 1 if place.part is None else 3
    if [found[0] * thirds, *found[1:]] != wanted:
        raise ValueError(
            f"the adapter's {plain(layer)} has shape {found}, which does not fit this base's {shown(wanted)}"
        )


def merged_tensor(plan: Merge, name: str) -> Tensor:
    """One tensor of the merged model: float32 where it is changed, else the base's own object."""
    if name in plan.edges:
        return plan.edges[name]
    if name not in plan.layers:
        return plan.base[name]
    # A copy even of float32: the base may be a mapped file.
    whole = plan.base[name].to(torch.float32, copy=True)
    for layer, place in plan.layers[name]:
        delta = plan.adapter.lora[layer + UP].float() @ plan.adapter.lora[layer + DOWN].float()
        rows = whole if place.part is None else whole.chunk(3)[place.part]
        rows.add_(swap_halves(delta) if place.swapped else delta)
    return whole


def merge(
    base: Mapping[str, Tensor], adapter: Adapter, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The whole merged model in memory, each tensor as `storage_dtype` says.

    Raises ValueError when the adapter does not fit the base.
    """
    plan = plan_merge(base, adapter)
    return {name: _stored(plan, name, dtype) for name in base}


def storage_dtype(name: str, tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The type to store a base's tensor in: `dtype`, None for its own.

    float8_e4m3fn holds only the matrices of the blocks; what is small or widened is stored in bfloat16 then.
    """
    wanted = tensor.dtype if dtype is None else dtype
    if wanted == FP8 and not (name.startswith("joint_blocks.") and tensor.ndim == 2):
        return torch.bfloat16
    return wanted


def _stored(plan: Merge, name: str, dtype: torch.dtype | None) -> Tensor:
    wanted = storage_dtype(name, plan.base[name], dtype)
    tensor = merged_tensor(plan, name)
    if wanted == FP8:
        # Beyond its largest number float8_e4m3fn knows only NaN.
        limit = torch.finfo(FP8).max
        tensor = tensor.float().clamp(-limit, limit)
    return tensor.to(wanted)


def write_merged(
    path: str | Path,
    plan: Merge,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the merged model and its description, tensor by tensor: memory holds base, adapter and one tensor.

    `progress` is told (bytes written, bytes in all). Raises CheckpointError when the file cannot be written or would
    hold NaN.
    """
    adapter = plan.adapter
    kinds = {
        name: (
            tuple(plan.edges.get(name, tensor).shape),
            storage_dtype(name, tensor, dtype),
        )
        for name, tensor in plan.base.items()
    }
    parents = {**adapter.parents, "adapter": value_hash(adapter.lora | adapter.edges)}
    description = ModelDescription(adapter.layout, adapter.advice, parents, mode=adapter.mode)
    told = description_tensor(description)
    kinds[DESCRIPTION] = (tuple(told.shape), told.dtype)

    def tensor_of(name: str) -> Tensor:
        if name == DESCRIPTION:
            return told
        stored = _stored(plan, name, dtype)
        # float16 has no numbers above 65504, and the base may be damaged.
        require_finite(path, {name: stored})
        return stored

    stream_safetensors(
        path,
        kinds,
        tensor_of,
        {METADATA_KEY: json.dumps(description.as_json())},
        progress,
    )


def merge_files(
    base_path: Path,
    adapter_path: Path,
    output: Path,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """`write_merged` from files: `base_path` is whatever `load_transformer` takes.

    Raises CheckpointError, naming the files, when they are not what they should be or do not belong together.
    """
    adapter = read_adapter(adapter_path)
    if name := not_finite(adapter.lora | adapter.edges):
        raise CheckpointError(
            f"{adapter_path} holds NaN or infinite values in {name}: get it again, or the one of an earlier checkpoint."
        )
    base = load_transformer(base_path)
    if is_widened(base, adapter.layout):
        raise CheckpointError(
            f"{base_path} is widened already: give the pretrained model it was made from."
        )
    require_same_base(adapter.parents, adapter_path, base, base_path)
    write_merged(output, plan_files(base_path, base, adapter_path, adapter), dtype, progress)
