"""Empty DA-VAE Latent: where sampling starts."""

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..davae_core.latents import LatentLayout
from ..davae_core.presets import PATCH, SD3
from . import pairing
from .compat.host import intermediate_device, intermediate_dtype
from .node import Node
from .schema import check_choice, schema

NAME = "Empty DA-VAE Latent"
LAYOUT = SD3.layout
OWN, TYPED = "the model's own", "width x height"
SIZES = {
    f"{name} {width} x {height}": (width, height)
    for name, width, height in (
        ("Square", 1024, 1024),
        ("Portrait", 832, 1216),
        ("Landscape", 1216, 832),
        ("Wide", 1344, 768),
        ("Tall", 768, 1344),
        ("2K square", 2048, 2048),
        ("2K portrait", 1664, 2432),
        ("2K landscape", 2432, 1664),
        ("2K wide", 2688, 1536),
        ("2K tall", 1536, 2688),
    )
}
"""Width and height by name: Stable Diffusion 3.5's usual ones, and twice their sides."""
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
                    tooltip="The DA-VAE model to draw with: its own size is then the usual one. One whose latent is "
                    "not Stable Diffusion 3.5's must be connected.",
                ),
                io.Combo.Input(
                    "size",
                    optional=True,
                    options=[OWN, TYPED, *SIZES],
                    default=OWN,
                    tooltip="The model's own: the size that a connected model was trained at, else width x height. The "
                    "named ones take no heed of width and height.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The empty latent.")],
            hidden=[io.Hidden.unique_id],
            aliases=["empty latent", "new latent", "resolution", "size", "da-vae", "sd3.5 2k"],
        )

    @classmethod
    def validate_inputs(
        cls, width: Any = None, height: Any = None, model: Any = "no model", size: Any = TYPED
    ) -> bool | str:
        judged = cls.judge(width=width, height=height, size=size)
        # A model that is connected says only when it is there what its cells and its own size are.
        if judged is not True or model is None or size not in (OWN, TYPED):
            return judged
        return _odd_side(LAYOUT, width, height) or True

    @classmethod
    def execute(
        cls, width: int, height: int, batch_size: int, model: Any = None, size: str = TYPED
    ) -> io.NodeOutput:
        check_choice(NAME, "size", size, [OWN, TYPED, *SIZES])
        layout = (
            LAYOUT
            if model is None
            else pairing.drawn_layout(NAME, model, "Load DA-VAE SD3.5 Model, or nothing")
        )
        width, height = _chosen(size, model) or (width, height)
        if max(width, height) > LARGEST_SIDE:
            raise ValueError(
                f"{NAME} was told by its model to make {width}x{height} pixels, more than {LARGEST_SIDE} a side: get "
                "the adapter from someone you trust, or choose a size."
            )
        odd = _odd_side(layout, width, height)
        if odd is not None:
            raise ValueError(odd)
        shape = (batch_size, layout.channels, height // layout.factor, width // layout.factor)
        samples = torch.zeros(shape, device=intermediate_device(), dtype=intermediate_dtype())
        # ComfyUI >= 0.11 resizes an empty latent to the model's scale and asks this key for the latent's own.
        empty = {"samples": samples, "downscale_ratio_spacial": layout.factor}
        told = size_in_words(width, height, layout)
        cls.tell(told)
        return io.NodeOutput(empty, ui=ui.PreviewText(told))


def size_in_words(width: int, height: int, layout: LatentLayout) -> str:
    """Such as `1024 x 1024: 32 x 32 tokens, a quarter of the plain VAE's`."""
    columns, rows = (-(-side // (PATCH * layout.factor)) for side in (width, height))
    share = {2: "a quarter", 4: "a sixteenth"}.get(layout.ratio, f"1/{layout.ratio**2}")
    return f"{width} x {height}: {columns} x {rows} tokens, {share} of the plain VAE's"


def _chosen(size: str, model: Any) -> tuple[int, int] | None:
    """Width and height of a choice; None where what is typed counts."""
    if size in SIZES:
        return SIZES[size]
    described = None if model is None or size == TYPED else pairing.description_of(model)
    trained = () if described is None else described.advice.trained
    return min(trained, key=_obliqueness) if trained else None


def _obliqueness(size: tuple[int, int]) -> float:
    """0 for a square, the more the longer one side is."""
    return max(size) / min(size)


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
