"""DA-VAE Encode: pictures become latents."""

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..davae_core.fit import FITS, Fit, fit_picture
from . import pairing
from .node import Node
from .schema import check_choice, schema

NAME = "DA-VAE Encode"
DONE = {"crop": "cropped", "pad": "padded", "resize": "resized"}


class Encode(Node):
    """[B, H, W, 3] in [0, 1] -> [B, C + D, H / 16, W / 16], both sides brought to multiples."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_Encode",
            NAME,
            "Encodes pictures to DA-VAE latents: base and detail channels on a grid of 16 x 16 pixels. "
            "Sides that are no multiples are cropped, padded or resized.",
            inputs=[
                io.Image.Input(
                    "image", tooltip="The pictures to encode; transparency is left out."
                ),
                io.Vae.Input("vae", tooltip="A DA-VAE from Load DA-VAE."),
                io.Combo.Input(
                    "fit",
                    optional=True,
                    options=list(FITS),
                    default="crop",
                    tooltip="What to do with sides that are no multiples of 16 pixels. crop: cut the edges off. pad: "
                    "repeat the outermost pixels. resize: to the nearest size. The node says what it did.",
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="The latent; its first channels are the base VAE's own.")
            ],
            hidden=[io.Hidden.unique_id],
            aliases=[
                "encode",
                "image to latent",
                "img2img",
                "da-vae",
                "vae encode",
                "fit",
                "crop",
                "any size",
            ],
        )

    @classmethod
    def validate_inputs(cls, fit: Any = None) -> bool | str:
        return cls.judge(fit=fit)

    @classmethod
    def execute(cls, image: Tensor, vae: object, fit: Fit = "crop") -> io.NodeOutput:
        check_choice(NAME, "fit", fit, FITS)
        davae = pairing.require_davae(NAME, vae, instead="VAE Encode")
        fitted = fit_picture(image[..., :3].movedim(-1, 1), davae.layout.factor, fit).movedim(1, -1)
        told = _what_was_done(image, fitted, fit)
        cls.tell(told)
        samples = davae.encode(fitted)
        return io.NodeOutput(
            {"samples": samples, pairing.ORIGIN: pairing.encoded_by(davae)},
            ui=ui.PreviewText(told) if told else None,
        )


def _what_was_done(image: Tensor, fitted: Tensor, fit: Fit) -> str:
    """Such as `1003 x 667 cropped to 992 x 656`; empty where the picture was taken as it is."""
    (height, width), (rows, columns) = image.shape[1:3], fitted.shape[1:3]
    if (height, width) == (rows, columns):
        return ""
    return f"{width} x {height} {DONE[fit]} to {columns} x {rows}"
