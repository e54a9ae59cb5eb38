"""The only place that touches ComfyUI's internals, from 0.3.64 to today: one file per kind of object."""

from .control import adapt_controlnet
from .features import log_self_test, problems, supported
from .folders import file_names, file_path
from .host import intermediate_device, intermediate_dtype, show_text, without_scale
from .model import (
    WEIGHT_TYPES,
    describe_model,
    description_of,
    largest_token_side,
    load_model,
    patch_size,
    register,
    text_widths,
)
from .sampling import PUBLISHED, SamplingSettings, sample, sampler_names, scheduler_names
from .text import load_text_encoder
from .vae import DetailAlignedComfyVAE, describe_vae

__all__ = [
    "PUBLISHED",
    "WEIGHT_TYPES",
    "DetailAlignedComfyVAE",
    "SamplingSettings",
    "adapt_controlnet",
    "describe_model",
    "describe_vae",
    "description_of",
    "file_names",
    "file_path",
    "intermediate_device",
    "intermediate_dtype",
    "largest_token_side",
    "load_model",
    "load_text_encoder",
    "log_self_test",
    "patch_size",
    "problems",
    "register",
    "sample",
    "sampler_names",
    "scheduler_names",
    "show_text",
    "supported",
    "text_widths",
    "without_scale",
]
