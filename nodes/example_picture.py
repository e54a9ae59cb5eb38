"""DA-VAE Example Picture: something to try a graph on, without a file of one's own."""

from typing import Any

from comfy_api.latest import io

from ..davae_core import mini
from ..davae_core.images import read_image
from .node import Node
from .schema import check_choice, schema

NAME = "DA-VAE Example Picture"
PICTURES = {
    "cat": mini.photograph_path,
    "shapes": mini.scene_path,
    "shapes, small": mini.small_scene_path,
}


class ExamplePicture(Node):
    """One of the bundled pictures, [1, H, W, 3] in [0, 1]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_ExamplePicture",
            NAME,
            "A picture that comes with the pack, so that its workflows need no file. Put Load Image in its place for "
            "your own.",
            inputs=[
                io.Combo.Input(
                    "picture",
                    options=list(PICTURES),
                    default="cat",
                    tooltip="cat: a photograph of 451 x 300 pixels, free of rights. shapes: a drawn scene of 256 x 256 "
                    "pixels such as the miniature knows. shapes, small: the same at 128 x 128.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The picture.")],
            aliases=["example", "photograph", "test picture", "load image", "da-vae"],
        )

    @classmethod
    def validate_inputs(cls, picture: Any = None) -> bool | str:
        return cls.judge(picture=picture)

    @classmethod
    def execute(cls, picture: str) -> io.NodeOutput:
        check_choice(NAME, "picture", picture, PICTURES)
        pixels = read_image(PICTURES[picture]())
        return io.NodeOutput(pixels.movedim(1, -1).add(1).div(2))
