"""A MODEL with which every stock sampler keeps the base channels of the latent it starts from, bit for bit.

A mask cannot do it: ComfyUI folds the channels of a LATENT's mask into the batch, and its samplers noise what they
keep, which a detail adapter must see clean. So the lock wraps a whole run of a sampler and every prediction in it.
"""

from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...davae_core.latents import split
from .model import BASE_IS_GIVEN

KEY = "davae_lock_base"
"""Whose wrappers these are among those of other nodes."""

SeenBase = Callable[[Tensor], Tensor]
"""sigma [B] -> the base channels [B, C, h, w] that the network sees at that noise level."""


def lock_base(model: Any) -> Any:
    """A clone of MODEL, one of ours, that keeps the base of whatever latent a sampler gives it.

    The latent's mask, the sampler's settings and other nodes' patches count as ever. What samplers show and return of
    the base while they run is the base; the last word is the latent's own, so no arithmetic touches it.
    """
    locked = model.clone()
    locked.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    locked.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _run_on_base)
    return locked


def is_locked(model: Any) -> bool:
    """Whether MODEL went through `lock_base`."""
    return bool(model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY))


def _run_on_base(
    run: Any,
    noise: Tensor,
    latent_image: Tensor,
    sampler: Any,
    sigmas: Tensor,
    denoise_mask: Tensor | None = None,
    callback: Any = None,
    disable_pbar: bool = False,
    seed: int | None = None,
    **further: Any,  # newer ComfyUI hands on the shapes of packed latents
) -> Tensor:
    """One run of a sampler, from ComfyUI's `run`: latents [B, C + D, h, w] in VAE space in and out."""
    guider = run.class_obj
    model, device = guider.model_patcher.model, guider.model_patcher.load_device
    layout = model.model_config.description.layout
    in_model_space = model.process_latent_in(latent_image)  # refuses other channels
    kept, _ = split(latent_image, layout)
    if not kept.any():
        raise ValueError(
            "This sampler got an empty latent, so Lock DA-VAE Base finds no base in it to keep: connect the latent "
            "that Lock DA-VAE Base gives out."
        )
    clean, base_noise = (
        split(part, layout)[0].to(device, torch.float32) for part in (in_model_space, noise)
    )
    seen = _seen_base(model, clean, _some_noise(base_noise, seed))

    def predict(
        predict_noise: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: Any
    ) -> Tensor:
        denoised = predict_noise(_with_base(x, seen(timestep)), timestep, model_options, seed)
        return _with_base(denoised, clean)

    # ComfyUI made these options for this run alone.
    options = guider.model_options
    options["transformer_options"][BASE_IS_GIVEN] = True
    comfy.patcher_extension.add_wrapper_with_key(
        WrappersMP.PREDICT_NOISE, KEY, predict, options, is_model_options=True
    )
    drawn: Tensor = run(
        noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **further
    )
    return _with_base(drawn, kept)


def _seen_base(model: Any, clean: Tensor, noise: Tensor) -> SeenBase:
    """A detail adapter sees the base clean; other models as noisy as the detail, as ComfyUI's inpainting shows it."""
    if model.model_config.description.mode == "detail":
        return lambda sigma: clean
    return lambda sigma: model.scale_latent_inpaint(
        x=clean, sigma=sigma, noise=noise, latent_image=clean
    )


def _some_noise(noise: Tensor, seed: int | None) -> Tensor:
    """The run's noise, or some where it adds none, as the second half of a schedule does."""
    if noise.any():
        return noise
    generator = torch.Generator().manual_seed(seed or 0)
    return torch.randn(noise.shape, generator=generator).to(noise)


def _with_base(latents: Tensor, base: Tensor) -> Tensor:
    """[B, C + D, h, w] with `base` [B, C, h, w] for its first channels."""
    return torch.cat([base.to(latents), latents[:, base.shape[1] :]], dim=1)
