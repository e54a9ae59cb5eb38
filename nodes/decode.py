"""DA-VAE Decode: latents become pictures, whole, in tiles, or as a draft."""

from typing import Any

from comfy_api.latest import io

from . import pairing
from .compat.host import blocked
from .compat.vae import DetailAlignedComfyVAE
from .node import Node
from .schema import advanced, check_choice, schema

NAME = "DA-VAE Decode"
FULL, TILED, DRAFT, BOTH = "full", "tiled", "draft", "full and draft"
MODES = [FULL, TILED, DRAFT, BOTH]


class Decode(Node):
    """[B, C + D, h, w] -> [B, 16 h, 16 w, 3] in [0, 1], and half that size as a draft where it is asked for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_Decode",
            NAME,
            "Decodes DA-VAE latents: the whole picture at once, in tiles for little memory, or a half-size "
            "draft from the base channels alone.",
            inputs=[
                io.Latent.Input("samples", tooltip="A DA-VAE latent."),
                io.Vae.Input("vae", tooltip="The DA-VAE the latent belongs to."),
                io.Combo.Input(
                    "mode",
                    options=MODES,
                    default=FULL,
                    tooltip="full: the picture at once. tiled: piece by piece, for large pictures and little memory. "
                    "draft: half the size, from the base channels only (needs a file with the base decoder). full and "
                    "draft: both, each at its own output.",
                ),
                io.Int.Input(
                    "tile_size",
                    default=768,
                    min=128,
                    max=4096,
                    step=32,
                    tooltip="Side of a tile in picture pixels. Only for the mode tiled.",
                    **advanced(io.Int.Input),
                ),
                io.Int.Input(
                    "overlap",
                    default=64,
                    min=0,
                    max=1024,
                    step=32,
                    tooltip="Pixels that neighbouring tiles share and blend over, at most a quarter of the tile. "
                    "Only for the mode tiled.",
                    **advanced(io.Int.Input),
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The pictures, as the mode says."),
                io.Image.Output(
                    display_name="draft",
                    tooltip="The pictures at half the size, in the modes draft, and full and draft.",
                ),
            ],
            aliases=[
                "decode",
                "latent to image",
                "da-vae",
                "draft",
                "half size",
                "preview",
                "tiled decode",
                "low vram",
            ],
        )

    @classmethod
    def validate_inputs(cls, mode: Any = None) -> bool | str:
        return cls.judge(mode=mode)

    @classmethod
    def execute(
        cls,
        samples: dict[str, Any],
        vae: DetailAlignedComfyVAE,
        mode: str,
        tile_size: int,
        overlap: int,
    ) -> io.NodeOutput:
        latents = samples["samples"]
        pairing.check_latent_fits(NAME, samples, vae)
        check_choice(NAME, "mode", mode, MODES)
        if mode == DRAFT:
            draft = vae.decode_draft(latents)
            return io.NodeOutput(draft, draft)
        if mode == BOTH:
            draft = vae.decode_draft(latents)  # first, because a compact file has none
            return io.NodeOutput(vae.decode(latents), draft)
        # Nothing is computed that nobody asked for: on most graphs this output leads nowhere.
        none = blocked(f"{NAME} makes no draft in the mode {mode}: choose {BOTH}, or {DRAFT}.")
        if mode == FULL:
            return io.NodeOutput(vae.decode(latents), none)
        tile = tile_size // vae.layout.factor
        shared = min(overlap, tile_size // 4) // vae.layout.factor
        pictures = vae.decode_tiled(latents, tile_x=tile, tile_y=tile, overlap=shared)
        return io.NodeOutput(pictures, none)
