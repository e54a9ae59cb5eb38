"""DA-VAE Example LoRA: a LoRA of the bundled miniature, to see that LoRAs of the base model keep working."""

from typing import Any

from comfy_api.latest import io

from ..davae_core import mini
from . import pairing
from .compat.loras import width_of, with_lora
from .compat.model import describe_model
from .node import Node
from .schema import check_choice, schema

NAME = "DA-VAE Example LoRA"
LORAS = {"lines": mini.lora_path}
WIDTH = 192
"""Channels of a token in the miniature, which no other model of this kind has."""


class ExampleLoRA(Node):
    """MODEL -> MODEL with one of the bundled LoRAs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_ExampleLoRA",
            NAME,
            "A LoRA that comes with the pack, trained on the bundled miniature's base model. Put it on the untouched "
            "model, and draw the detail on what that draws. Put Load LoRA in its place for your own.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The bundled miniature, from Load DA-VAE SD3.5 Model."
                ),
                io.Combo.Input(
                    "lora",
                    options=list(LORAS),
                    default="lines",
                    tooltip="lines: every form as a line in its colour, on white paper.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.05,
                    tooltip="1 is as it was trained; 0 leaves the model as it is.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the LoRA.")],
            aliases=["lora", "example", "style", "load lora", "da-vae"],
        )

    @classmethod
    def validate_inputs(cls, lora: Any = None, strength: Any = None) -> bool | str:
        return cls.judge(lora=lora, strength=strength)

    @classmethod
    def execute(cls, model: Any, lora: str, strength: float) -> io.NodeOutput:
        check_choice(NAME, "LoRA", lora, LORAS)
        pairing.drawn_layout(NAME, model, "Load DA-VAE SD3.5 Model with the miniature")
        if width_of(model) != WIDTH:
            raise ValueError(
                f"{NAME} has LoRAs of the bundled miniature alone, but {describe_model(model)} is connected: use Load "
                "LoRA with one that was trained for it."
            )
        return io.NodeOutput(with_lora(model, LORAS[lora](), strength))
