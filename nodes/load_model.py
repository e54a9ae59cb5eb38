"""Load DA-VAE SD3.5 Model: a pretrained model and an adapter become a MODEL."""

from typing import Any

from comfy_api.latest import io, ui

from ..davae_core.transformer.description import ModelDescription
from . import files
from .compat.model import WEIGHT_TYPES, description_of, load_model
from .node import Node
from .schema import advanced, check_choice, schema

NAME = "Load DA-VAE SD3.5 Model"


class LoadModel(Node):
    """Stable Diffusion 3.5, widened by the detail channels, with the adapter in it -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_LoadModel",
            NAME,
            "Loads Stable Diffusion 3.5 Medium so that it draws DA-VAE latents: 1024 x 1024 pixels from "
            "32 x 32 tokens. An ordinary MODEL: the stock samplers, LoRA loaders and model patches work on it.",
            inputs=[
                io.Combo.Input(
                    "base_name",
                    display_name="base",
                    options=files.BASES.names(),
                    default=files.BASES.usual(),
                    tooltip="The pretrained model, in models/diffusion_models or models/checkpoints: a single file, a "
                    "full checkpoint, or a diffusers file. A merged DA-VAE model needs no adapter. The bundled "
                    "miniature needs no download; it draws coloured shapes at 256 px.",
                ),
                io.Combo.Input(
                    "adapter_name",
                    display_name="adapter",
                    options=files.adapter_names(),
                    default=files.usual_adapter(),
                    tooltip="A DA-VAE adapter in models/loras, trained on this base. A detail adapter is for DA-VAE "
                    "Detail Sampler. Without one the model draws what its base draws at half the size, and no detail.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_TYPES),
                    default="default",
                    tooltip="How the weights are kept. float8 takes half the memory of bfloat16 and is "
                    "coarser.",
                    **advanced(io.Combo.Input),
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model, with the adapter's shift in its schedule.")
            ],
            hidden=[io.Hidden.unique_id],
            aliases=[
                "da-vae",
                "sd3.5",
                "sd3.5 2k",
                "load diffusion model",
                "lora",
                "fewer tokens",
                "fast",
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, base_name: str, adapter_name: str, weight_dtype: str) -> str:
        adapter = files.adapter_path(adapter_name)
        prints = [files.fingerprint(files.BASES.path(base_name)), weight_dtype]
        return " ".join(prints if adapter is None else [*prints, files.fingerprint(adapter)])

    @classmethod
    def validate_inputs(
        cls, base_name: Any = None, adapter_name: Any = None, weight_dtype: Any = None
    ) -> bool | str:
        return cls.judge(base_name=base_name, adapter_name=adapter_name, weight_dtype=weight_dtype)

    @classmethod
    def execute(cls, base_name: str, adapter_name: str, weight_dtype: str) -> io.NodeOutput:
        check_choice(NAME, "weight type", weight_dtype, WEIGHT_TYPES)
        base, adapter = files.BASES.path(base_name), files.adapter_path(adapter_name)
        model = load_model(base, adapter, weight_dtype, files.base_layout(base_name))
        description = description_of(model)
        assert description is not None
        text = advice_text(description)
        cls.tell(text)
        return io.NodeOutput(model, ui=ui.PreviewText(text))


def advice_text(description: ModelDescription) -> str:
    """The model's advice to whoever samples it, one line."""
    advice = description.advice
    alone = "Draws the detail alone: " if description.mode == "detail" else ""
    return f"{alone}{advice.steps} steps, cfg {advice.guidance:g}, shift {advice.shift:g} (set)" + (
        f", trained at {advice.trained_words}" if advice.trained else ""
    )
