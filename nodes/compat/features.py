"""What the installed ComfyUI has and lacks; features are looked for, never version numbers."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import comfy.cldm.mmdit
import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import folder_paths

LOG = logging.getLogger(__name__)


def supported(target: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that the installed ComfyUI's schema or input class takes."""
    if is_dataclass(target):
        known = {field.name for field in fields(target)}
    else:
        known = set(inspect.signature(target.__init__).parameters)  # type: ignore[misc]
    return {name: value for name, value in options.items() if name in known}


def problems() -> list[str]:
    """Which of ComfyUI's names and parameters we build on are missing; empty when all is well."""
    wanted: tuple[tuple[object, str], ...] = (
        (comfy.cldm.mmdit, "ControlNet"),
        (comfy.controlnet, "ControlNet"),
        (comfy.controlnet, "ControlNetSD35"),
        (comfy.latent_formats, "LatentFormat"),
        (comfy.model_base, "SD3"),
        (comfy.sample, "prepare_noise"),
        (comfy.samplers, "KSampler"),
        (comfy.sd, "CLIP"),
        (comfy.sd, "VAE"),
        (comfy.sd, "load_diffusion_model_state_dict"),
        (comfy.sd, "load_lora_for_models"),
        (comfy.supported_models, "SD3"),
        (comfy.supported_models, "models"),
        (comfy.ops, "disable_weight_init"),
        (comfy.model_management, "intermediate_device"),
        (comfy.model_management, "get_torch_device"),
        (comfy.model_management, "load_models_gpu"),
        (comfy.model_management, "should_use_bf16"),
        (comfy.model_management, "throw_exception_if_processing_interrupted"),
        (comfy.model_management, "vae_offload_device"),
        (comfy.model_patcher, "ModelPatcher"),
        (comfy.sd.VAE, "decode_tiled_"),
        (comfy.sd.VAE, "vae_encode_crop_pixels"),
        (folder_paths, "get_full_path"),
    )
    missing = [
        f"{getattr(owner, '__name__', owner)}.{name}"
        for owner, name in wanted
        if not hasattr(owner, name)
    ]
    parameters = inspect.signature(comfy.sd.VAE.__init__).parameters
    missing += [
        f"comfy.sd.VAE({name}=)" for name in ("sd", "device", "dtype") if name not in parameters
    ]
    return missing


def log_self_test() -> None:
    """One clear line in ComfyUI's log: ready, or what this ComfyUI lacks."""
    missing = problems()
    if missing:
        LOG.warning(
            "DA-VAE: this ComfyUI lacks %s, so its nodes may fail: update DA-VAE.",
            ", ".join(missing),
        )
    else:
        LOG.info("DA-VAE: nodes ready.")
