"""ComfyUI's own VAE and transformer of Stable Diffusion 3's sizes, without weights, in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from davae_core.transformer.presets import SD35_MEDIUM

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


def stock_halves() -> tuple[nn.Module, nn.Module]:
    """ComfyUI's encoder and decoder.

    Their attention is the one that ours calls, so that counts compare the same thing.
    """
    _make_importable()
    from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder

    halves = Encoder(**_SIZES), Decoder(**_SIZES)
    for half in halves:
        for layer in half.modules():
            if hasattr(layer, "optimized_attention"):
                layer.optimized_attention = _attention
    return halves


def stock_transformer(channels: int, blocks: int, dtype: torch.dtype, device: str) -> nn.Module:
    """ComfyUI's SD3.5 Medium for latents of so many channels, with the first `blocks` of its blocks."""
    _make_importable()
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    sizes = SD35_MEDIUM
    width = {"in_features": sizes.context_width, "out_features": sizes.width}
    built: nn.Module = MMDiT(
        input_size=None,
        patch_size=sizes.patch,
        in_channels=channels,
        out_channels=channels,
        depth=sizes.heads,
        num_blocks=blocks,
        qk_norm="rms",
        adm_in_channels=sizes.pooled_width,
        context_embedder_config={"target": "torch.nn.Linear", "params": width},
        x_block_self_attn_layers=[block for block in sizes.dual_blocks if block < blocks],
        pos_embed_max_size=sizes.positions,
        num_patches=sizes.positions**2,
        pos_embed_scaling_factor=None,
        dtype=dtype,
        device=device,
        # Nothing is computed in 8 bits: the weights are made as wide as the latents when they are used.
        operations=comfy.ops.manual_cast if dtype.itemsize == 1 else comfy.ops.disable_weight_init,
    )
    return built


def _make_importable() -> None:
    """Let `comfy` be imported, from .comfyui (``make test`` puts it there) or COMFYUI_PATH."""
    place = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).absolute()
    if not (place / "comfy").is_dir():
        sys.exit(f"There is no ComfyUI in {place}: run `make test` once, or set COMFYUI_PATH.")
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    # ComfyUI reads the command line when it is imported, but only where it is told to.
    on_cpu = [] if torch.cuda.is_available() else ["--cpu"]
    wanted = ["--use-pytorch-cross-attention", *on_cpu]
    given, sys.argv = sys.argv, [sys.argv[0], *wanted]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.ldm.modules.attention
    finally:
        sys.argv = given


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, channels, height, width = q.shape
    flat = [part.view(batch, 1, channels, -1).transpose(2, 3).contiguous() for part in (q, k, v)]
    # Looked up when called: counting puts another in its place.
    made = torch.nn.functional.scaled_dot_product_attention(*flat)
    return made.transpose(2, 3).reshape(batch, channels, height, width)
