"""Join DA-VAE Latent: base and detail channels together."""

from typing import Any

from comfy_api.latest import io

from ..davae_core.latents import join
from . import pairing
from .node import Node
from .schema import schema


class JoinLatent(Node):
    """Base [B, C, h, w] and detail [B, D, h, w] -> [B, C + D, h, w]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_JoinLatent",
            "Join DA-VAE Latent",
            "Puts a base and a detail latent of the same size together to a DA-VAE latent.",
            inputs=[
                io.Latent.Input(
                    "base", tooltip="An ordinary latent: the first channels of the DA-VAE latent."
                ),
                io.Latent.Input(
                    "detail",
                    tooltip="The detail channels; mask and batch numbers are taken from here.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The DA-VAE latent.")],
            aliases=["join", "merge", "base channels", "detail channels", "da-vae"],
        )

    @classmethod
    def execute(cls, base: dict[str, Any], detail: dict[str, Any]) -> io.NodeOutput:
        layout = pairing.layout_of(detail)
        joined = join(base["samples"], detail["samples"].to(base["samples"]), layout)
        return io.NodeOutput({**detail, "samples": joined})
