"""Empty DA-VAE Latent: where sampling starts."""

from typing import Any

import torch
from comfy_api.latest import io

from ..davae_core.latents import LatentLayout
from ..davae_core.presets import SD3
from . import pairing
from .compat.host import intermediate_device, intermediate_dtype
from .node import Node
from .schema import schema

NAME = "Empty DA-VAE Latent"
LAYOUT = SD3.layout
LARGEST_SIDE = 384 * 2 * LAYOUT.factor
"""Stable Diffusion 3.5's table of positions ends at 384 tokens a side, two latent cells each."""


class EmptyLatent(Node):
    """Zeros [B, C + D, height / factor, width / factor]: the model's, or Stable Diffusion 3.5's 32 channels and 16."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_EmptyLatent",
            NAME,
            "An empty latent for Stable Diffusion 3.5 with DA-VAE: 32 channels, 16 x 16 pixels per cell. "
            "1024 x 1024 pixels are 32 x 32 tokens.",
            inputs=[
                *(
                    io.Int.Input(
                        side.lower(),
                        default=1024,
                        min=64,
                        max=LARGEST_SIDE,
                        step=32,
                        tooltip=f"{side} of the picture in pixels, a multiple of 16; multiples of 32 fill "
                        "whole tokens.",
                    )
                    for side in ("Width", "Height")
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="How many pictures to make at once.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The DA-VAE model to draw with. Only one whose latent is not Stable Diffusion 3.5's needs "
                    "to be connected.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The empty latent.")],
            aliases=["empty latent", "new latent", "resolution", "size", "da-vae", "sd3.5 2k"],
        )

    @classmethod
    def validate_inputs(
        cls, width: Any = None, height: Any = None, model: Any = "no model"
    ) -> bool | str:
        judged = cls.judge(width=width, height=height)
        # A model that is connected says only when it is there what its cells are.
        if judged is not True or model is None:
            return judged
        return _odd_side(LAYOUT, width, height) or True

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, model: Any = None) -> io.NodeOutput:
        layout = LAYOUT if model is None else pairing.drawn_layout(NAME, model)
        odd = _odd_side(layout, width, height)
        if odd is not None:
            raise ValueError(odd)
        shape = (batch_size, layout.channels, height // layout.factor, width // layout.factor)
        samples = torch.zeros(shape, device=intermediate_device(), dtype=intermediate_dtype())
        # ComfyUI >= 0.11 resizes an empty latent to the model's scale and asks this key for the latent's own.
        return io.NodeOutput({"samples": samples, "downscale_ratio_spacial": layout.factor})


def _odd_side(layout: LatentLayout, width: int | None, height: int | None) -> str | None:
    """What to do about a side that is no multiple of a latent cell; None when both are, or are not known."""
    for side, pixels in (("width", width), ("height", height)):
        below = 0 if pixels is None else pixels - pixels % layout.factor
        if pixels is not None and below != pixels:
            return (
                f"{NAME} cannot make a {side} of {pixels} pixels, because a latent cell is {layout.factor} pixels: "
                f"use {below} or {below + layout.factor}."
            )
    return None
