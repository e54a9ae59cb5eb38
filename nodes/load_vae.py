"""Load DA-VAE: a file becomes a VAE."""

from typing import Any

from comfy_api.latest import io

from . import files
from .compat.vae import DetailAlignedComfyVAE
from .node import Node
from .schema import schema


class LoadVAE(Node):
    """A DA-VAE file from models/vae, or the bundled miniature, as an ordinary VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_LoadVAE",
            "Load DA-VAE",
            "Loads a DA-VAE, the codec that makes a picture of 16 x 16 pixels per latent cell. "
            "The stock VAE nodes work with it too.",
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    display_name="file",
                    options=files.VAES.names(),
                    default=files.VAES.usual(),
                    tooltip="A DA-VAE file in models/vae, or a checkpoint with a DA-VAE in it whose name says so "
                    "(davae). The bundled miniature needs no download; it shows how things work, not Stable Diffusion "
                    "3.5's picture quality.",
                ),
            ],
            outputs=[io.Vae.Output(tooltip="The DA-VAE, for the DA-VAE and the stock VAE nodes.")],
            aliases=["da-vae", "detail aligned vae", "deep compression", "load vae"],
        )

    @classmethod
    def fingerprint_inputs(cls, vae_name: str) -> str:
        return files.fingerprint(files.VAES.path(vae_name))

    @classmethod
    def validate_inputs(cls, vae_name: Any = None) -> bool | str:
        return cls.judge(vae_name=vae_name)

    @classmethod
    def execute(cls, vae_name: str) -> io.NodeOutput:
        return io.NodeOutput(DetailAlignedComfyVAE(files.VAES.path(vae_name)))
