"""A miniature text encoder's file as ComfyUI's CLIP object."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.text_encoders.sd3_clip
import folder_paths

from ...davae_core.mini.text_encoder_files import read_text_encoder_file
from .features import supported


def load_text_encoder(path: Path, disable_dynamic: bool = False) -> Any:
    """ComfyUI's own CLIP of Stable Diffusion 3, with this file as its only text encoder.

    Raises CheckpointError when the file is not a miniature text encoder.
    """
    config, tensors = read_text_encoder_file(path)
    target = SimpleNamespace(
        params={},
        clip=comfy.text_encoders.sd3_clip.sd3_clip(clip_l=True, clip_g=False, t5=False),
        tokenizer=comfy.text_encoders.sd3_clip.SD3Tokenizer,
    )
    # ComfyUI >= 0.12 takes the weights together with the rest, older ones afterwards.
    loading = {"state_dict": [tensors], "disable_dynamic": disable_dynamic}
    options = supported(comfy.sd.CLIP, loading)
    clip = comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        model_options={"clip_l_model_config": asdict(config)},
        **options,
    )
    if "state_dict" not in options:
        clip.load_sd(tensors)
    # ComfyUI >= 0.15 asks for this to make a second copy of a model.
    clip.patcher.cached_patcher_init = (reload_text_encoder, (path,))
    return clip


def reload_text_encoder(path: Path, disable_dynamic: bool = False) -> Any:
    """Read the file once more and return its patcher."""
    return load_text_encoder(path, disable_dynamic).patcher
