"""A ControlNet of Stable Diffusion 3 on our MODEL: it sees the base channels, its own latent at half the size.

The token grids match, because a DA-VAE's grid is that of the picture of half the size.
"""

from collections.abc import Callable
from typing import Any

import comfy.cldm.mmdit
import comfy.controlnet
import comfy.model_base
from torch import Tensor

from .vae import DetailAlignedComfyVAE


class BaseOfDetailAligned:
    """A DA-VAE in the place of the VAE that a ControlNet encodes its picture with: its base channels alone."""

    def __init__(self, vae: DetailAlignedComfyVAE) -> None:
        self.vae = vae

    def spacial_compression_encode(self) -> int:
        """Pixels per latent cell, as ComfyUI asks for them."""
        return int(self.vae.spacial_compression_encode())

    def encode(self, pixels: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] in [0, 1] -> [B, C, H / factor, W / factor] in VAE space."""
        return self.vae.encode(pixels)[:, : self.vae.layout.base_channels]  # type: ignore[no-any-return]


class BaseChannels:
    """What both kinds of ControlNet do otherwise on our MODEL; it stands before one of ComfyUI's classes."""

    control_model: Any

    def set_cond_hint(self, cond_hint: Tensor, *args: Any, vae: Any = None, **options: Any) -> Any:
        """Take the picture; a DA-VAE serves as the pretrained VAE that it holds."""
        if isinstance(vae, DetailAlignedComfyVAE):
            vae = BaseOfDetailAligned(vae)
        return super().set_cond_hint(cond_hint, *args, vae=vae, **options)  # type: ignore[misc]

    def get_control(self, x_noisy: Tensor, *args: Any) -> Any:
        """The base channels alone go in; what comes out is added to tokens, which have no channels of a latent."""
        return super().get_control(x_noisy[:, : self.channels], *args)  # type: ignore[misc]

    def copy(self) -> Any:
        """ComfyUI's apply nodes copy a ControlNet before they set it up."""
        return adapt_controlnet(self)

    @property
    def channels(self) -> int:
        """Latent channels that the ControlNet was made for."""
        return int(self.control_model.x_embedder.proj.weight.shape[1])

    def check_fits(self, model: Any) -> None:
        """Raise ValueError unless the model is a Stable Diffusion 3 whose tokens are as wide as the ControlNet's."""
        if not isinstance(model, comfy.model_base.SD3):
            raise ValueError(
                f"The ControlNet is one of Stable Diffusion 3.5, but the model is {type(model).__name__}: connect Load "
                "DA-VAE SD3.5 Model, or a ControlNet that was made for this model."
            )
        own = self.control_model.x_embedder.proj.weight.shape[0]
        needed = model.diffusion_model.x_embedder.proj.weight.shape[0]
        if own != needed:
            raise ValueError(
                f"The ControlNet works on tokens {own} wide, but the model's are {needed} wide: use a ControlNet that "
                "was made for this model, for Stable Diffusion 3.5 Medium one of width 1536."
            )


class DetailAlignedControlNet(BaseChannels, comfy.controlnet.ControlNet):  # type: ignore[misc]
    """A ControlNet in diffusers' SD3 layout."""

    def pre_run(self, model: Any, percent_to_timestep: Callable[[float], float]) -> None:
        self.check_fits(model)
        super().pre_run(model, percent_to_timestep)


class DetailAlignedControlNetSD35(BaseChannels, comfy.controlnet.ControlNetSD35):  # type: ignore[misc]
    """A ControlNet in Stability's SD3.5 layout, which borrows a part of the model that it controls."""

    def pre_run(self, model: Any, percent_to_timestep: Callable[[float], float]) -> None:
        self.check_fits(model)
        if self.control_model.double_y_emb:
            super().pre_run(model, percent_to_timestep)
            return
        # Our model's patch embedder has columns for the detail, which a ControlNet has no input for.
        embedder = model.diffusion_model.x_embedder.state_dict()
        kept = {name: t[:, : self.channels] if t.ndim == 4 else t for name, t in embedder.items()}
        self.control_model.x_embedder.load_state_dict(kept, strict=False)
        comfy.controlnet.ControlNet.pre_run(self, model, percent_to_timestep)


def adapt_controlnet(control: Any) -> Any:
    """The ControlNet for our MODEL, sharing the weights of `control`, one of ComfyUI's or of ours.

    Raises ValueError when it is none of Stable Diffusion 3 or 3.5.
    """
    stability = isinstance(control, comfy.controlnet.ControlNetSD35)
    if not stability and not isinstance(
        getattr(control, "control_model", None), comfy.cldm.mmdit.ControlNet
    ):
        raise ValueError(
            "DA-VAE ControlNet Adapter got a ControlNet of another family than Stable Diffusion 3.5 "
            f"({type(getattr(control, 'control_model', control)).__name__}): load one that was made for SD3.5, or "
            "use this one with its own model."
        )
    kind = DetailAlignedControlNetSD35 if stability else DetailAlignedControlNet
    found = kind(
        None,
        global_average_pooling=control.global_average_pooling,
        load_device=control.load_device,
        manual_cast_dtype=control.manual_cast_dtype,
    )
    found.control_model = control.control_model
    found.control_model_wrapped = control.control_model_wrapped
    control.copy_to(found)
    return found
