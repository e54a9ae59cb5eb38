"""DA-VAE Encode: pictures become latents."""

from comfy_api.latest import io
from torch import Tensor

from . import pairing
from .node import Node
from .schema import schema

NAME = "DA-VAE Encode"


class Encode(Node):
    """[B, H, W, 3] in [0, 1] -> [B, C + D, H / 16, W / 16], both sides cropped centrally to multiples."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_Encode",
            NAME,
            "Encodes pictures to DA-VAE latents: base and detail channels on a grid of 16 x 16 pixels. "
            "Sides that are no multiples are cropped centrally.",
            inputs=[
                io.Image.Input(
                    "image", tooltip="The pictures to encode; transparency is left out."
                ),
                io.Vae.Input("vae", tooltip="A DA-VAE from Load DA-VAE."),
            ],
            outputs=[
                io.Latent.Output(tooltip="The latent; its first channels are the base VAE's own.")
            ],
            aliases=["encode", "image to latent", "img2img", "da-vae", "vae encode"],
        )

    @classmethod
    def execute(cls, image: Tensor, vae: object) -> io.NodeOutput:
        davae = pairing.require_davae(NAME, vae, instead="VAE Encode")
        samples = davae.encode(image[..., :3])
        return io.NodeOutput({"samples": samples, pairing.ORIGIN: pairing.encoded_by(davae)})
