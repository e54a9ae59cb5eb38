"""DA-VAE ControlNet Adapter: a ControlNet of Stable Diffusion 3.5 for a DA-VAE model."""

from typing import Any

from comfy_api.latest import io

from .compat.control import adapt_controlnet
from .node import Node
from .schema import schema


class AdaptControlNet(Node):
    """CONTROL_NET -> CONTROL_NET that reads the base channels of a DA-VAE latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_ControlNetAdapter",
            "DA-VAE ControlNet Adapter",
            "Lets a ControlNet of Stable Diffusion 3.5 work on a DA-VAE model. It sees the base channels, "
            "that is the picture at half the size. Experimental: the quality is untested.",
            is_experimental=True,
            inputs=[
                io.ControlNet.Input(
                    "control_net",
                    tooltip="A ControlNet made for this model's base, from Load ControlNet Model.",
                ),
            ],
            outputs=[
                io.ControlNet.Output(
                    tooltip="For Apply ControlNet; connect Load DA-VAE or the SD3 VAE there."
                )
            ],
            aliases=["controlnet", "da-vae", "canny", "depth", "sd3.5 controlnet"],
        )

    @classmethod
    def execute(cls, control_net: Any) -> io.NodeOutput:
        return io.NodeOutput(adapt_controlnet(control_net))
