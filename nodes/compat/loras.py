"""A LoRA from a file on a MODEL, as ComfyUI's own LoRA loaders put it there."""

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
from torch import Tensor


def with_lora(model: Any, path: Path, strength: float) -> Any:
    """A clone of MODEL with the LoRA at `strength`, 1 as it was trained."""
    weights: dict[str, Tensor] = comfy.utils.load_torch_file(str(path), safe_load=True)
    patched, _ = comfy.sd.load_lora_for_models(model, None, weights, strength, 0.0)
    return patched


def width_of(model: Any) -> int:
    """Channels of a token in a MODEL of Stable Diffusion 3's kind."""
    return int(model.model.diffusion_model.x_embedder.proj.weight.shape[0])
