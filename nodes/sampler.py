"""DA-VAE Sampler: a MODEL draws a latent, with the paper's settings to start from."""

from typing import Any

from comfy_api.latest import io, ui

from ..davae_core.transformer.description import Advice
from . import pairing
from .compat.sampling import (
    PUBLISHED,
    SamplingSettings,
    first_level,
    sample,
    sampler_names,
    scheduler_names,
)
from .effort import effort
from .node import Node
from .schema import advanced, check_choice, schema

NAME = "DA-VAE Sampler"
ADVICE = Advice()


class Sampler(Node):
    """MODEL, conditioning and a latent [B, C + D, h, w] -> the latent, drawn."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_Sampler",
            NAME,
            "Draws a DA-VAE latent, set as in the paper: 30 steps, cfg 2.5, the adapter's own shift. It "
            "checks that model and latent belong together. The stock samplers work as well.",
            inputs=[
                io.Model.Input("model", tooltip="A model from Load DA-VAE SD3.5 Model."),
                io.Conditioning.Input("positive", tooltip="What the picture shall show."),
                io.Conditioning.Input("negative", tooltip="What it shall not show."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty DA-VAE latent, or one from DA-VAE Encode with denoise below 1.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Which noise the picture starts from.",
                ),
                io.Int.Input(
                    "steps", default=ADVICE.steps, min=1, max=10000, tooltip="Steps of the sampler."
                ),
                io.Float.Input(
                    "cfg",
                    default=ADVICE.guidance,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance: how strongly the prompt is followed.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Shift of the schedule towards noise; 0 takes what the model was trained with.",
                    **advanced(io.Float.Input),
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=sampler_names(),
                    default="euler",
                    tooltip="The sampling method.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=scheduler_names(),
                    default=PUBLISHED,
                    tooltip="How the noise levels are spread; da-vae is the published schedule.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 starts from noise alone; less keeps some of the given latent. The node shows how much "
                    "noise it starts at: with a shift of 4 that is 80 % at 0.5, 63 % at 0.3.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The drawn latent, for DA-VAE Decode.")],
            hidden=[io.Hidden.unique_id],
            aliases=["ksampler", "sampler", "img2img", "da-vae", "sd3.5"],
        )

    @classmethod
    def validate_inputs(
        cls,
        cfg: Any = None,
        shift: Any = None,
        sampler_name: Any = None,
        scheduler: Any = None,
        denoise: Any = None,
    ) -> bool | str:
        return cls.judge(
            cfg=cfg, shift=shift, sampler_name=sampler_name, scheduler=scheduler, denoise=denoise
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
    ) -> io.NodeOutput:
        pairing.check_draws_base(NAME, model)
        pairing.check_model_fits(NAME, model, latent_image)
        pairing.check_prompts_fit(NAME, model, positive, negative)
        check_choice(NAME, "sampler", sampler_name, sampler_names())
        check_choice(NAME, "scheduler", scheduler, scheduler_names())
        settings = SamplingSettings(
            seed, steps, cfg, sampler_name, scheduler, denoise, shift=shift or None
        )
        told = ""
        if denoise < 1.0:
            # What 0.5 keeps depends on the shift, and is less than one thinks.
            told = f"starts at {100 * first_level(model, settings):.0f} % noise"
            cls.tell(told)
        drawn = sample(model, positive, negative, latent_image, settings)
        told = "; ".join(part for part in (told, effort(drawn)) if part)
        cls.tell(told)
        return io.NodeOutput(
            {**drawn.latent, **pairing.drawn_by(model, latent_image)}, ui=ui.PreviewText(told)
        )
