"""Does what was connected belong together? One sentence that names both sides when it does not."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..davae_core.latents import LatentLayout, check_latents
from ..davae_core.presets import SD3
from ..davae_core.transformer.description import ModelDescription
from .compat.model import (
    describe_model,
    description_of,
    largest_token_side,
    patch_size,
    text_widths,
)
from .compat.vae import DetailAlignedComfyVAE, describe_vae

ORIGIN = "davae_origin"
"""The key of a LATENT that says whose it is. Stock nodes hand it on; a latent without it is nobody's."""


@dataclass(frozen=True)
class Origin:
    """The DA-VAE whose latent this is: `davae_core.codec.latent_files.encoding_hash` of its file, and words for it."""

    vae_hash: str
    words: str
    layout: LatentLayout


def require_davae(node: str, vae: object, instead: str) -> DetailAlignedComfyVAE:
    """`vae` itself when it is a DA-VAE. Raises ValueError naming `node` and the stock node to use `instead`."""
    if not isinstance(vae, DetailAlignedComfyVAE):
        raise ValueError(
            f"{node} needs a DA-VAE, but {describe_vae(vae)} is connected: connect Load DA-VAE, "
            f"or use {instead}."
        )
    return vae


def encoded_by(vae: DetailAlignedComfyVAE) -> Origin:
    """What DA-VAE Encode writes on its latents."""
    return Origin(vae.encoding_hash, describe_vae(vae), vae.layout)


def drawn_by(model: Any, latent: dict[str, Any]) -> dict[str, Origin]:
    """What DA-VAE Sampler writes on its latents: whom the model was trained for, else what was there."""
    description = description_of(model)
    assert description is not None
    trained_for = description.parents.get("vae")
    if trained_for is not None:
        words = f"the DA-VAE that {describe_model(model)} draws for"
        return {ORIGIN: Origin(trained_for, words, description.layout)}
    return {ORIGIN: latent[ORIGIN]} if ORIGIN in latent else {}


def layout_of(latent: dict[str, Any]) -> LatentLayout:
    """The layout of the DA-VAE whose latent this is; Stable Diffusion 3's where the latent does not say."""
    origin = latent.get(ORIGIN)
    return SD3.layout if origin is None else origin.layout


def check_latent_fits(node: str, latent: dict[str, Any], vae: object) -> None:
    """Raise ValueError unless the latent is one that this VAE's decoder reads, its own where it says, and finite."""
    latents: Tensor = latent["samples"]
    if not isinstance(vae, DetailAlignedComfyVAE):
        raise ValueError(
            f"{node} got a latent of {latents.shape[1]} channels and {describe_vae(vae)}: connect Load DA-VAE "
            "for a DA-VAE latent, or use VAE Decode for an ordinary one."
        )
    if latents.ndim != 4 or latents.shape[1] != vae.layout.channels:
        raise ValueError(
            f"{node} got a latent of shape {list(latents.shape)}, but {describe_vae(vae)} reads "
            f"{vae.layout.channels} channels: use a latent from DA-VAE Encode or Empty DA-VAE Latent, or decode this "
            "one with the VAE it was made for."
        )
    origin = latent.get(ORIGIN)
    if origin is not None and origin.vae_hash != vae.encoding_hash:
        raise ValueError(
            f"{node} got {describe_vae(vae)}, but the latent belongs to {origin.words}: connect that one, or "
            "make the latent with this one."
        )
    check_latents(latents, vae.layout)


def check_model_fits(node: str, model: Any, latent: dict[str, Any]) -> None:
    """Raise ValueError unless this MODEL is a DA-VAE one and draws latents of such channels and about this size."""
    description = description_of(model)
    samples: Tensor = latent["samples"]
    shape = list(samples.shape)
    if description is None:
        raise ValueError(
            f"{node} got a latent of shape {shape} and {describe_model(model)}: connect Load DA-VAE SD3.5 Model "
            "for a DA-VAE latent, or use KSampler for an ordinary one."
        )
    if samples.ndim != 4 or samples.shape[1] != description.layout.channels:
        raise ValueError(
            f"{node} got a latent of shape {shape}, but {describe_model(model)} draws [batch, "
            f"{description.layout.channels}, height, width]: use a latent from Empty DA-VAE Latent or DA-VAE Encode."
        )
    _check_size(node, model, description, samples)
    origin, trained_for = latent.get(ORIGIN), description.parents.get("vae")
    if origin is not None and trained_for not in (None, origin.vae_hash):
        raise ValueError(
            f"{node} got a latent of {origin.words}, but {describe_model(model)} was trained for another "
            "DA-VAE: encode the picture with that one, or load the adapter trained for this one."
        )


def check_prompts_fit(node: str, model: Any, *prompts: Any) -> None:
    """Raise ValueError unless every prompt was encoded as wide as this MODEL reads."""
    context, pooled = text_widths(model)
    for values, extra in (entry for prompt in prompts for entry in prompt):
        found = extra.get("pooled_output")
        widths = (values.shape[-1], None if found is None else found.shape[-1])
        if widths != (context, pooled):
            raise ValueError(
                f"{node} got a prompt encoded {widths[0]} wide ({widths[1] or 'nothing'} pooled), but "
                f"{describe_model(model)} reads {context} ({pooled} pooled): encode it with this model's text "
                "encoders, for Stable Diffusion 3.5 by TripleCLIPLoader."
            )


def _check_size(node: str, model: Any, description: ModelDescription, samples: Tensor) -> None:
    factor, sizes = description.layout.factor, description.advice.sizes
    height, width = (side * factor for side in samples.shape[-2:])
    # Half and double the trained area take in every usual aspect ratio; the other trained size is four times off.
    if sizes and not any(0.5 <= height * width / side**2 <= 2.0 for side in sizes):
        trained = " or ".join(f"{side}x{side}" for side in sizes)
        raise ValueError(
            f"{node} got a latent of {width}x{height} pixels, but {describe_model(model)} was trained at "
            f"{trained}: use a latent of about that many pixels, or an adapter trained for this size."
        )
    most = largest_token_side(model)
    tokens = max(-(-side // patch_size(model)) for side in samples.shape[-2:])
    if most is not None and tokens > most:
        raise ValueError(
            f"{node} got a latent of {width}x{height} pixels, which is {tokens} tokens along one side, but "
            f"{describe_model(model)} has positions for {most}: use a smaller latent."
        )
