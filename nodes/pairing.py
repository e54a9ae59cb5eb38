"""Does what was connected belong together? One sentence that names both sides when it does not."""

from typing import Any

from torch import Tensor

from ..davae_core.description import ModelDescription
from ..davae_core.latents import check_latents
from . import compat


def require_davae(node: str, vae: object, instead: str) -> compat.DetailAlignedComfyVAE:
    """`vae` itself when it is a DA-VAE. Raises ValueError naming `node` and the stock node to use `instead`."""
    if not isinstance(vae, compat.DetailAlignedComfyVAE):
        raise ValueError(
            f"{node} needs a DA-VAE, but {compat.describe_vae(vae)} is connected: connect Load DA-VAE, "
            f"or use {instead}."
        )
    return vae


def check_latent_fits(node: str, latents: Tensor, vae: object) -> None:
    """Raise ValueError unless the latent is one that this VAE's decoder reads, and finite."""
    if not isinstance(vae, compat.DetailAlignedComfyVAE):
        raise ValueError(
            f"{node} got a latent of {latents.shape[1]} channels and {compat.describe_vae(vae)}: connect Load DA-VAE "
            "for a DA-VAE latent, or use VAE Decode for an ordinary one."
        )
    if latents.ndim != 4 or latents.shape[1] != vae.layout.channels:
        raise ValueError(
            f"{node} got a latent of shape {list(latents.shape)}, but {compat.describe_vae(vae)} reads "
            f"{vae.layout.channels} channels: use a latent from DA-VAE Encode or Empty DA-VAE Latent, or decode this "
            "one with the VAE it was made for."
        )
    check_latents(latents, vae.layout)


def check_model_fits(node: str, model: Any, latent: dict[str, Any]) -> None:
    """Raise ValueError unless this MODEL is a DA-VAE one and draws latents of such channels and about this size."""
    description = compat.description_of(model)
    samples: Tensor = latent["samples"]
    shape = list(samples.shape)
    if description is None:
        raise ValueError(
            f"{node} got a latent of shape {shape} and {compat.describe_model(model)}: connect Load DA-VAE SD3.5 Model "
            "for a DA-VAE latent, or use KSampler for an ordinary one."
        )
    if samples.ndim != 4 or samples.shape[1] != description.layout.channels:
        raise ValueError(
            f"{node} got a latent of shape {shape}, but {compat.describe_model(model)} draws "
            f"{description.layout.channels} channels: use a latent from Empty DA-VAE Latent or DA-VAE Encode."
        )
    _check_size(node, model, description, samples)


def _check_size(node: str, model: Any, description: ModelDescription, samples: Tensor) -> None:
    factor, sizes = description.layout.factor, description.advice.sizes
    height, width = (side * factor for side in samples.shape[-2:])
    # Half and double the trained area take in every usual aspect ratio; the other trained size is four times off.
    if sizes and not any(0.5 <= height * width / side**2 <= 2.0 for side in sizes):
        trained = " or ".join(f"{side}x{side}" for side in sizes)
        raise ValueError(
            f"{node} got a latent of {width}x{height} pixels, but {compat.describe_model(model)} was trained at "
            f"{trained}: use a latent of about that many pixels, or an adapter trained for this size."
        )
    most = compat.largest_token_side(model)
    tokens = max(-(-side // compat.patch_size(model)) for side in samples.shape[-2:])
    if most is not None and tokens > most:
        raise ValueError(
            f"{node} got a latent of {width}x{height} pixels, which is {tokens} tokens along one side, but "
            f"{compat.describe_model(model)} has positions for {most}: use a smaller latent."
        )
