"""What the installed ComfyUI has and lacks; features are looked for, never version numbers."""

import inspect
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

LOG = logging.getLogger(__name__)

BUILT_ON = {
    "comfy.cldm.mmdit": "ControlNet",
    "comfy.controlnet": "ControlNet.copy ControlNet.get_control ControlNet.pre_run ControlNet.set_cond_hint "
    "ControlNetSD35.pre_run",
    "comfy.latent_formats": "LatentFormat.process_in LatentFormat.process_out SD3",
    "comfy.model_base": "SD3.apply_model SD3.extra_conds",
    "comfy.model_management": "dtype_size get_torch_device intermediate_device load_models_gpu should_use_bf16 "
    "throw_exception_if_processing_interrupted vae_offload_device",
    "comfy.model_patcher": "ModelPatcher",
    "comfy.model_sampling": "CONST ModelSamplingDiscreteFlow",
    "comfy.ops": "disable_weight_init",
    "comfy.patcher_extension": "WrappersMP.OUTER_SAMPLE WrappersMP.PREDICT_NOISE add_wrapper_with_key",
    "comfy.sample": "prepare_noise sample",
    "comfy.samplers": "KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS KSampler.SAMPLERS KSampler.SCHEDULERS",
    "comfy.sd": "CLIP VAE.decode_tiled VAE.decode_tiled_ VAE.encode_tiled_ VAE.get_sd VAE.vae_encode_crop_pixels "
    "load_diffusion_model_state_dict load_lora_for_models",
    "comfy.supported_models": "SD3.get_model SD3.matches SD3.process_unet_state_dict_for_saving "
    "SD3.process_vae_state_dict "
    "SD3.sampling_settings models",
    "comfy.text_encoders.sd3_clip": "SD3Tokenizer sd3_clip",
    "comfy.utils": "PROGRESS_BAR_ENABLED ProgressBar load_torch_file",
    "comfy.weight_adapter": "LoRAAdapter",
    "comfy_execution.graph_utils": "ExecutionBlocker",
    "folder_paths": "folder_names_and_paths get_filename_list get_folder_paths get_full_path",
    "latent_preview": "prepare_callback",
}
"""The names that nodes/compat uses without looking for them first, and the methods it overrides, by module."""

VAE_PARAMETERS = ("sd", "device", "dtype")


def supported(target: Callable[..., object], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that a class or function of the installed ComfyUI takes."""
    known = inspect.signature(target).parameters
    return {name: value for name, value in options.items() if name in known}


def problems() -> list[str]:
    """Which of ComfyUI's names and parameters we build on are missing; empty when all is well."""
    missing = [
        f"{module}.{name}"
        for module, names in BUILT_ON.items()
        for name in names.split()
        if _find(module, name) is None
    ]
    vae = _find("comfy.sd", "VAE")
    known = {} if vae is None else inspect.signature(vae).parameters
    return missing + [f"comfy.sd.VAE({name}=)" for name in VAE_PARAMETERS if name not in known]


def _find(module: str, name: str) -> Any:
    """What stands under that dotted name in a module, None when this ComfyUI lacks it."""
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        return None


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
