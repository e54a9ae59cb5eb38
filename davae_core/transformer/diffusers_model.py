"""diffusers' SD3 transformer of given sizes: the only file here that imports diffusers, and only when called."""

from typing import Any

from torch import nn

from .sizes import HEAD_WIDTH, TransformerSizes


def diffusers_transformer(sizes: TransformerSizes) -> nn.Module:
    """A fresh SD3Transformer2DModel on the current default device. Raises ImportError without diffusers."""
    model: nn.Module = require_diffusers().SD3Transformer2DModel(
        sample_size=sizes.positions * sizes.patch,
        patch_size=sizes.patch,
        in_channels=sizes.in_channels,
        out_channels=sizes.out_channels,
        num_layers=sizes.blocks,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=sizes.heads,
        joint_attention_dim=sizes.context_width,
        caption_projection_dim=sizes.width,
        pooled_projection_dim=sizes.pooled_width,
        pos_embed_max_size=sizes.positions,
        dual_attention_layers=sizes.dual_blocks,
        qk_norm="rms_norm" if sizes.normed else None,
    )
    return model


def require_diffusers() -> Any:
    """The package. Raises ImportError that says how to install it."""
    try:
        import diffusers
    except ImportError as error:
        raise ImportError(
            'Text to image outside ComfyUI needs diffusers: pip install ".[diffusers]".'
        ) from error
    return diffusers
