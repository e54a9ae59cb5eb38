"""Lock DA-VAE Base: any stock sampler keeps the base of a latent and draws its detail."""

from typing import Any

from comfy_api.latest import io

from . import pairing
from .base import with_detail
from .compat.locking import lock_base
from .node import Node
from .schema import schema

NAME = "Lock DA-VAE Base"


class LockBase(Node):
    """MODEL and a latent [B, C, h, w] or [B, C + D, h, w] -> MODEL that keeps a base, latent [B, C + D, h, w]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_LockBase",
            NAME,
            "For KSampler and every other sampler: they keep the latent's base channels bit for bit and draw "
            "the detail alone. DA-VAE Detail Sampler needs no lock.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A model from Load DA-VAE SD3.5 Model, best with a detail adapter.",
                ),
                io.Latent.Input(
                    "samples",
                    tooltip="The base: a latent of Stable Diffusion 3 at half the size, or a DA-VAE latent.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="For the sampler: it keeps the base of its latent."),
                io.Latent.Output(tooltip="For the sampler: the base, with detail channels."),
            ],
            aliases=[
                "lock base",
                "keep base",
                "detail pass",
                "da-vae",
                "upscale",
                "hires",
                "hires fix",
            ],
        )

    @classmethod
    def execute(cls, model: Any, samples: dict[str, Any]) -> io.NodeOutput:
        description = pairing.check_base_fits(NAME, model, samples)
        whole = with_detail(samples, description.layout)
        return io.NodeOutput(lock_base(model), {**whole, **pairing.drawn_by(model, samples)})
