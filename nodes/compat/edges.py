"""LoRAs for the pretrained model on a widened one: the parts that reach its two edge layers, and adapters put on twice.

ComfyUI leaves out a part whose shape is not the layer's and says so in its log alone. Base channels come first, so such
a part becomes exact with zeros for the detail channels.
"""

import uuid
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from ...davae_core.latents import LatentLayout
from ...davae_core.presets import PATCH
from ...davae_core.transformer.names import EMBEDDER_WEIGHT, HEAD_BIAS, HEAD_WEIGHT
from ...davae_core.transformer.warm_start import widen_conv_weight, widen_head_rows
from .host import warn

KEY = "davae_edges"
"""Whose wrapper this is among those of other nodes."""
WIDENED = {EMBEDDER_WEIGHT: widen_conv_weight, HEAD_WEIGHT: widen_head_rows, HEAD_BIAS: widen_head_rows}  # fmt: skip
"""The tensors that a widening replaces, and how it widens them."""


def watch_edges(model: Any) -> None:
    """Let MODEL, one of ours, fit its LoRAs to its edge layers before every run of a sampler, in place."""
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _run_with_fitted_edges)


def _run_with_fitted_edges(run: Any, *given: Any, **further: Any) -> Any:
    """One run of a sampler, from ComfyUI's `run`; the weights get their patches in it."""
    patcher = run.class_obj.model_patcher
    fit_edges(patcher)
    if adapters_on(patcher) > 1:
        warn(
            f"The DA-VAE model ({patcher.model.model_config.source}) has a DA-VAE adapter on it more than once: Load "
            "DA-VAE SD3.5 Model puts it there, so take the LoRA loader with the adapter out."
        )
    return run(*given, **further)


def fit_edges(patcher: Any) -> None:
    """Widen those patches of the edge layers, hooks' too, that are as narrow as the pretrained model's."""
    layout = patcher.model.model_config.description.layout
    hooked = getattr(patcher, "hook_patches", {})
    for patches in (patcher.patches, *hooked.values()):
        for name in WIDENED:
            key = f"diffusion_model.{name}"
            before = patches.get(key, [])
            fitted = _all_fitted(before, name, layout)
            if any(new[1] is not old[1] for new, old in zip(fitted, before, strict=True)):
                patches[key] = fitted
                # By this ComfyUI knows weights in use; the same patches are the same ones in every clone.
                patcher.patches_uuid = uuid.uuid5(patcher.patches_uuid, KEY)


def _all_fitted(patches: Any, name: str, layout: LatentLayout) -> list[Any]:
    return [(patch[0], _fitted(patch[1], name, layout), *patch[2:]) for patch in patches]


def adapters_on(patcher: Any) -> int:
    """How many DA-VAE adapters are in the model: merged into its file, or among its patches.

    Only an adapter's patches of the patch embedder reach its detail channels.
    """
    description = patcher.model.model_config.description
    layout = description.layout
    patches = patcher.patches.get(f"diffusion_model.{EMBEDDER_WEIGHT}", [])
    found = (_difference(patch[1]) for patch in patches if patch[0] != 0.0)
    patched = sum(
        one is not None
        and one.shape[1:2] == (layout.channels,)
        and bool(one[:, layout.base_channels :].any())
        for one in found
    )
    return patched + ("adapter" in description.parents)


def _fitted(patch: Any, name: str, layout: LatentLayout) -> Any:
    """A patch for the widened tensor `name`: a wider one where it is for the pretrained model's, else itself."""
    if isinstance(patch, list):
        # A model merged into this one: its weight, then its patches.
        weight, *others = patch
        inner = _all_fitted(others, name, layout)
        same = all(new[1] is old[1] for new, old in zip(inner, others, strict=True))
        return patch if same else [weight, *inner]
    difference = _difference(patch)
    if difference is not None:
        wide = _widened(difference, name, layout)
        return patch if wide is difference else ("diff", (wide,))
    if not isinstance(patch, LoRAAdapter):
        return patch
    up, down, alpha, middle, dora, reshaped = patch.weights
    if any(extra is not None for extra in (middle, dora, reshaped)):
        return patch
    if name == EMBEDDER_WEIGHT:
        wide = _widened(down, name, layout)
        weights = (up, wide, alpha, None, None, None)
        return patch if wide is down else LoRAAdapter(patch.loaded_keys, weights)
    wide = _widened(up, name, layout)
    weights = (wide, down, alpha, None, None, None)
    return patch if wide is up else LoRAAdapter(patch.loaded_keys, weights)


def _widened(tensor: Tensor, name: str, layout: LatentLayout) -> Tensor:
    """With zeros for the detail channels, where the tensor has as many channels as the base."""
    if name == EMBEDDER_WEIGHT:
        narrow = tensor.ndim == 4 and tensor.shape[1] == layout.base_channels
    else:
        narrow = tensor.shape[0] == layout.base_channels * PATCH**2
    return WIDENED[name](tensor, layout.base_channels, layout.detail_channels) if narrow else tensor


def _difference(patch: Any) -> Tensor | None:
    """What a plain difference adds to a weight, whichever way ComfyUI keeps it; None for other kinds of patch."""
    if not isinstance(patch, tuple):
        return None
    kind, values = ("diff", patch) if len(patch) == 1 else patch
    found = values[0] if kind == "diff" else None
    return found if isinstance(found, torch.Tensor) else None
