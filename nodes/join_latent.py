"""Join DA-VAE Latent: base and detail channels together."""

from typing import Any

from comfy_api.latest import io

from ..davae_core.latents import join
from ..davae_core.presets import PRESETS
from . import compat

LAYOUT = PRESETS["sd3"].layout


class JoinLatent(io.ComfyNode):  # type: ignore[misc]
    """Base [B, C, h, w] and detail [B, D, h, w] -> [B, C + D, h, w]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        search = {"search_aliases": ["join", "merge", "base channels", "detail channels", "da-vae"]}
        return io.Schema(
            node_id="DAVAE_JoinLatent",
            display_name="Join DA-VAE Latent",
            category="DA-VAE",
            description="Puts a base and a detail latent of the same size together to a DA-VAE latent.",
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
            **compat.supported(io.Schema, search),
        )

    @classmethod
    def execute(cls, base: dict[str, Any], detail: dict[str, Any]) -> io.NodeOutput:
        joined = join(base["samples"], detail["samples"].to(base["samples"]), LAYOUT)
        return io.NodeOutput({**detail, "samples": joined})
