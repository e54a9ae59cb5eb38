"""The only place that touches ComfyUI's internals, from 0.3.64 to today: one file per kind of object."""

from .features import log_self_test, problems, supported
from .folders import file_names, file_path
from .host import intermediate_device, intermediate_dtype, show_text
from .vae import DetailAlignedComfyVAE, describe_vae

__all__ = [
    "DetailAlignedComfyVAE",
    "describe_vae",
    "file_names",
    "file_path",
    "intermediate_device",
    "intermediate_dtype",
    "log_self_test",
    "problems",
    "show_text",
    "supported",
]
