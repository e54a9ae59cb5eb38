"""DA-VAE Detail Sampler: a detail adapter draws the detail on a base, which comes back bit for bit."""

from typing import Any

from comfy_api.latest import io, ui

from . import pairing
from .base import has_detail, with_detail
from .compat.locking import lock_base
from .compat.sampling import PUBLISHED, SamplingSettings, sample
from .effort import effort
from .node import Node
from .schema import schema

NAME = "DA-VAE Detail Sampler"


class DetailSampler(Node):
    """MODEL, conditioning and a base [B, C, h, w] or a latent [B, C + D, h, w] -> latent [B, C + D, h, w]."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_DetailSampler",
            NAME,
            "Draws the detail on a base: what Stable Diffusion 3.5 drew at half the size, or an encoded picture. "
            "The base comes back bit for bit. Few steps without guidance are enough.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="A model from Load DA-VAE SD3.5 Model with a detail adapter."
                ),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="The base: a latent of Stable Diffusion 3 at half the size, or a DA-VAE latent.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Which noise the detail starts from.",
                ),
                io.Int.Input(
                    "steps", default=10, min=1, max=10000, tooltip="Steps of the sampler."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 draws the detail from noise alone; less keeps that much of a DA-VAE latent's own.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance: 1 is none and twice as fast. Other values need a negative prompt.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What the picture shall not show; not needed at cfg 1.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="Base and detail, for DA-VAE Decode.")],
            hidden=[io.Hidden.unique_id],
            aliases=[
                "detail pass",
                "upscale",
                "enlarge",
                "hires",
                "hires fix",
                "da-vae",
                "sd3.5 2k",
            ],
        )

    @classmethod
    def validate_inputs(cls, strength: Any = None, cfg: Any = None) -> bool | str:
        return cls.judge(strength=strength, cfg=cfg)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        strength: float,
        cfg: float,
        negative: Any = None,
    ) -> io.NodeOutput:
        description = pairing.check_base_fits(NAME, model, latent_image)
        pairing.check_draws_detail(NAME, model)
        pairing.check_prompts_fit(NAME, model, positive, negative or [])
        if strength < 1.0 and not has_detail(latent_image, description.layout):
            raise ValueError(
                f"{NAME} got a latent of {description.layout.base_channels} channels, which has no detail to keep at "
                f"strength {strength:g}: set strength to 1, or connect a DA-VAE latent."
            )
        if cfg != 1.0 and negative is None:
            raise ValueError(
                f"{NAME} is set to cfg {cfg:g} without a negative prompt: connect one, or set cfg to 1."
            )
        # At cfg 1 the samplers never look at the negative prompt.
        settings = SamplingSettings(seed, steps, cfg, "euler", PUBLISHED, strength)
        whole = with_detail(latent_image, description.layout)
        against = positive if negative is None else negative
        drawn = sample(lock_base(model), positive, against, whole, settings, preview_first=True)
        told = effort(drawn)
        cls.tell(told)
        return io.NodeOutput(
            {**drawn.latent, **pairing.drawn_by(model, latent_image)}, ui=ui.PreviewText(told)
        )
