"""ComfyUI's own VAE of Stable Diffusion 3's size, without weights, in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
_SIZES = {
    "ch": 128,
    "out_ch": 3,
    "ch_mult": (1, 2, 4, 4),
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "in_channels": 3,
    "resolution": 256,
    "z_channels": 16,
    "double_z": True,
}


def stock_halves(on_cpu: bool) -> tuple[nn.Module, nn.Module]:
    """ComfyUI's encoder and decoder, from .comfyui (``make test`` puts it there) or COMFYUI_PATH.

    Their attention is the one that ours calls, so that counts compare the same thing.
    """
    place = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).absolute()
    if not (place / "comfy").is_dir():
        sys.exit(f"There is no ComfyUI in {place}: run `make test` once, or set COMFYUI_PATH.")
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    # ComfyUI reads the command line when it is imported, but only where it is told to.
    given, sys.argv = sys.argv, [sys.argv[0], *(["--cpu"] if on_cpu else [])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder
    finally:
        sys.argv = given
    halves = Encoder(**_SIZES), Decoder(**_SIZES)
    for half in halves:
        for layer in half.modules():
            if hasattr(layer, "optimized_attention"):
                layer.optimized_attention = _attention
    return halves


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, channels, height, width = q.shape
    flat = [part.view(batch, 1, channels, -1).transpose(2, 3).contiguous() for part in (q, k, v)]
    # Looked up when called: counting puts another in its place.
    made = torch.nn.functional.scaled_dot_product_attention(*flat)
    return made.transpose(2, 3).reshape(batch, channels, height, width)
