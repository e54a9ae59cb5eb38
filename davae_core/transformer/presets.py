"""Stable Diffusion 3.5 Medium's transformer, how to sample it, and the LoRA that the published stage 2 trains on it."""

from ..presets import PATCH, SD3
from .description import Advice
from .sizes import TransformerSizes

SD35_MEDIUM = TransformerSizes(
    in_channels=SD3.layout.base_channels,
    out_channels=SD3.layout.base_channels,
    patch=PATCH,
    blocks=24,
    heads=24,
    dual_blocks=tuple(range(13)),
    context_width=4096,
    pooled_width=2048,
    positions=384,
    normed=True,
)
UNTRAINED = Advice(shift=3.0)
"""How to sample the pretrained SD3 itself, which a widened model without adapter still is."""
LORA_RANK = LORA_ALPHA = 256
LORA_TARGETS: dict[str, tuple[str, ...]] = {
    "published": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "norm1.linear"),
    "wide": (
        "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "norm1.linear",
        "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "ff_context.net.0.proj", "ff_context.net.2",
        "norm1_context.linear", "context_embedder", "norm_out.linear",
    ),
}  # fmt: skip
"""LoRA targets by name: the published ones touch the picture's stream only, the wide ones every large layer."""
