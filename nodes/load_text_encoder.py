"""Load Miniature CLIP: text to image without five gigabytes of text encoders."""

from typing import Any

from comfy_api.latest import io

from . import files
from .compat.text import load_text_encoder
from .node import Node
from .schema import schema


class LoadTextEncoder(Node):
    """The bundled miniature text encoder, or another one of its kind, as an ordinary CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_LoadMiniCLIP",
            "Load Miniature CLIP",
            "Loads the text encoder of the miniature stack, for CLIP Text Encode and the miniature model. "
            "Stable Diffusion 3.5 needs its own text encoders.",
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    display_name="file",
                    options=files.TEXT_ENCODERS.names(),
                    default=files.TEXT_ENCODERS.usual(),
                    tooltip="The bundled miniature, or a file of its kind in models/text_encoders. It knows the words "
                    "of the pictures this project draws. Ordinary text encoders belong in CLIPLoader or "
                    "DualCLIPLoader.",
                ),
            ],
            outputs=[io.Clip.Output(tooltip="The text encoder, for CLIP Text Encode.")],
            aliases=["clip", "text encoder", "da-vae", "miniature", "load clip"],
        )

    @classmethod
    def fingerprint_inputs(cls, clip_name: str) -> str:
        return files.fingerprint(files.TEXT_ENCODERS.path(clip_name))

    @classmethod
    def validate_inputs(cls, clip_name: Any = None) -> bool | str:
        return cls.judge(clip_name=clip_name)

    @classmethod
    def execute(cls, clip_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_text_encoder(files.TEXT_ENCODERS.path(clip_name)))
