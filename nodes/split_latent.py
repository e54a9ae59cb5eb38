"""Split DA-VAE Latent: base and detail channels apart."""

from typing import Any

from comfy_api.latest import io

from ..davae_core.latents import check_latents, split
from . import pairing
from .compat.host import without_scale
from .node import Node
from .schema import schema


class SplitLatent(Node):
    """[B, C + D, h, w] -> base [B, C, h, w], which the pretrained VAE decodes, and detail [B, D, h, w]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_SplitLatent",
            "Split DA-VAE Latent",
            "Takes a DA-VAE latent apart. The base is an ordinary latent of half the picture's size: the "
            "stock Stable Diffusion 3.5 VAE and model take it.",
            inputs=[io.Latent.Input("samples", tooltip="A DA-VAE latent.")],
            outputs=[
                io.Latent.Output(
                    display_name="base",
                    tooltip="The base channels, an ordinary latent of half the size.",
                ),
                io.Latent.Output(display_name="detail", tooltip="The detail channels."),
            ],
            aliases=["split", "base channels", "detail channels", "da-vae"],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any]) -> io.NodeOutput:
        latents, layout = samples["samples"], pairing.layout_of(samples)
        check_latents(latents, layout)
        base, detail = split(latents, layout)
        kept = without_scale(samples)
        return io.NodeOutput({**kept, "samples": base}, {**kept, "samples": detail})
