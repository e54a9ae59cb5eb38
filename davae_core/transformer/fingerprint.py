"""Knowing a pretrained transformer again in any copy of it (docs/method.md, "Adapters").

A hash does not survive rounding: a float16 copy of a float32 model is another number in bfloat16 than the model itself
is. So a file remembers a few values of its base's edge layers, and a base is compared with them as far as its storage
type can tell.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..files import CheckpointError
from .names import EDGES, SCALES

_EDGES = tuple(EDGES.values())
SAMPLES = 64
TOLERANCE = 0.05


def base_fingerprint(base: Mapping[str, Tensor]) -> str:
    """What a file remembers of its base: SAMPLES values, spread over each edge tensor, as base64 of float32.

    `base`: the transformer, or only its edge tensors (names.EDGES), under Stability's names and not widened, in
    float32, float16 or bfloat16. Raises KeyError when one is missing, ValueError for a storage type too coarse to be
    remembered.
    """
    for name in _EDGES:
        if base[name].element_size() < 2:
            raise ValueError(
                f"{name} is stored in {base[name].dtype}, too coarse to know its model by"
            )
    values = torch.cat([_samples(base[name]) for name in _EDGES])
    return base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()


def same_base(fingerprint: str, base: Mapping[str, Tensor]) -> bool:
    """Whether `base` (as for `base_fingerprint`, in any float type, fp8 too, scaled or not) is the remembered one.

    Per edge tensor, the remembered values are rounded to the base's type; what remains of the difference beyond one
    rounding step must be within TOLERANCE of their norm. Copies in other types agree, and so does a fine-tune that
    hardly moved its edge layers; other models differ by about their whole norm. False also for a damaged fingerprint.
    """
    try:
        # bytearray: torch wants a buffer it may write to.
        known = torch.frombuffer(
            bytearray(base64.b64decode(fingerprint, validate=True)), dtype=torch.float32
        )
    except (binascii.Error, ValueError):
        return False
    if len(known) != SAMPLES * len(_EDGES):
        return False
    if not all(name in base and base[name].is_floating_point() for name in _EDGES):
        return False
    parts = zip(_EDGES, known.reshape(-1, SAMPLES), strict=True)
    return all(_agree(part, base[name], _scale(name, base)) for name, part in parts)


def _scale(name: str, base: Mapping[str, Tensor]) -> float:
    """What a float8 tensor with one scale for the whole of it is multiplied by; 1 for any other."""
    for ending in SCALES:
        scale = base.get(name.removesuffix(".weight") + ending)
        if name.endswith(".weight") and scale is not None and scale.numel() == 1:
            return float(scale)
    return 1.0


def require_same_base(
    parents: Mapping[str, str], path: str | Path, base: Mapping[str, Tensor], base_path: str | Path
) -> None:
    """Raise CheckpointError, naming both files, unless the adapter in `path`, with these parents, is for `base`.

    `base`: as for `same_base`, from `base_path`. An adapter that names no base fits any.
    """
    if "base" not in parents or same_base(parents["base"], base):
        return
    own = parents.get("base_name", "the pretrained model it was trained on")
    raise CheckpointError(
        f"The adapter {path} was trained on another base than {base_path}: pick {own}, or an adapter for this base."
    )


def _agree(known: Tensor, tensor: Tensor, scale: float) -> bool:
    known = known / scale
    found, limits = _samples(tensor), torch.finfo(tensor.dtype)
    rounded = known.clamp(limits.min, limits.max).to(tensor.dtype).float()
    # Values below the smallest normal number lie smallest_normal * eps apart, the others at most |value| * eps.
    step = limits.eps * rounded.abs().clamp(min=limits.smallest_normal)
    beyond = ((rounded - found).abs() - step).clamp(min=0)
    return bool(beyond.norm() <= TOLERANCE * rounded.norm())


def _samples(tensor: Tensor) -> Tensor:
    """SAMPLES values [SAMPLES] float32 on the CPU, spread over the flattened tensor."""
    flat = tensor.detach().flatten()
    # Steps of the golden section: even ones would hit the same column of every row.
    places = (torch.arange(SAMPLES, device=flat.device) * 40503 % 65536) * flat.numel() // 65536
    # fp8 tensors cannot be indexed by another tensor, so the bytes' integer type is.
    if flat.element_size() == 1:
        return flat.view(torch.uint8)[places].view(flat.dtype).float().cpu()
    return flat[places].float().cpu()
