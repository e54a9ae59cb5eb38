"""Empty DA-VAE Latent: where sampling starts."""

from typing import Any

import torch
from comfy_api.latest import io

from ..davae_core.presets import SD3
from . import pairing
from .compat.host import intermediate_device, intermediate_dtype
from .schema import schema

NAME = "Empty DA-VAE Latent"
LAYOUT = SD3.layout
LARGEST_SIDE = 384 * 2 * LAYOUT.factor
"""Stable Diffusion 3.5's table of positions ends at 384 tokens a side, two latent cells each."""


class EmptyLatent(io.ComfyNode):  # type: ignore[misc]
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
            aliases=["empty latent", "new latent", "da-vae", "sd3.5 2k"],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, model: Any = None) -> io.NodeOutput:
        layout = LAYOUT if model is None else pairing.drawn_layout(NAME, model)
        for side, pixels in (("width", width), ("height", height)):
            below = pixels - pixels % layout.factor
            if below != pixels:
                raise ValueError(
                    f"{NAME} cannot make a {side} of {pixels} pixels, because a latent cell is {layout.factor} pixels: "
                    f"use {below} or {below + layout.factor}."
                )
        shape = (batch_size, layout.channels, height // layout.factor, width // layout.factor)
        samples = torch.zeros(shape, device=intermediate_device(), dtype=intermediate_dtype())
        # ComfyUI >= 0.11 resizes an empty latent to the model's scale and asks this key for the latent's own.
        return io.NodeOutput({"samples": samples, "downscale_ratio_spacial": layout.factor})
