"""Does what was connected belong together? One sentence that names both sides when it does not."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..davae_core.latents import (
    LatentLayout,
    base_to_model_space,
    check_finite,
    check_latents,
    split,
)
from ..davae_core.presets import SD3
from ..davae_core.transformer.description import ModelDescription
from .compat.locking import is_locked
from .compat.model import (
    describe_model,
    description_of,
    no_base_given,
    source_of,
    text_widths,
    too_many_tokens,
)
from .compat.vae import DetailAlignedComfyVAE, describe_vae

ORIGIN = "davae_origin"
"""The key of a LATENT that says whose it is. Stock nodes hand it on; a latent without it is nobody's."""
LARGEST_SPREAD = 2.5
"""How far a base's values may spread in model space, where those of its own VAE spread about 1 and FLUX's 4."""


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


def drawn_layout(node: str, model: Any, instead: str) -> LatentLayout:
    """The layout of the latents that a DA-VAE MODEL draws.

    Raises ValueError for any other model, with what to connect `instead`.
    """
    description = description_of(model)
    if description is None:
        raise ValueError(f"{node} got {describe_model(model)}: connect {instead}.")
    return description.layout


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
    description = _require_ours(node, model, latent)
    samples: Tensor = latent["samples"]
    shape = list(samples.shape)
    if samples.ndim != 4 or samples.shape[1] != description.layout.channels:
        raise ValueError(
            f"{node} got a latent of shape {shape}, but {describe_model(model)} draws [batch, "
            f"{description.layout.channels}, height, width]: use a latent from Empty DA-VAE Latent or DA-VAE Encode."
        )
    _check_size(node, model, description, samples)
    _check_origin(node, model, description, latent)


def check_base_fits(node: str, model: Any, latent: dict[str, Any]) -> ModelDescription:
    """What a DA-VAE MODEL says of itself, if the latent has a base that its detail can be drawn on.

    [B, C, h, w] is a base, [B, C + D, h, w] a whole latent. Raises ValueError for any other model or shape, a latent of
    another VAE as far as it can be told, an empty one, and one of a size that the model was not trained at.
    """
    description = _require_ours(node, model, latent)
    layout, origin = description.layout, latent.get(ORIGIN)
    samples: Tensor = latent["samples"]
    fits = samples.ndim == 4 and samples.shape[1] in (layout.base_channels, layout.channels)
    if not fits or (origin is not None and _channels(origin.layout) != _channels(layout)):
        whose = "" if origin is None else f" of {origin.words}"
        raise ValueError(
            f"{node} got a latent of shape {list(samples.shape)}{whose}, but {describe_model(model)} draws detail on "
            f"a base of {layout.base_channels} channels: use a latent of Stable Diffusion 3.5 at half the size, or "
            "encode the picture with this model's DA-VAE."
        )
    _check_origin(node, model, description, latent)
    _check_values(node, model, layout, samples)
    _check_size(node, model, description, samples)
    return description


def check_draws_base(node: str, model: Any) -> None:
    """Raise ValueError for a model that draws the detail alone, unless its base is locked."""
    description = description_of(model)
    if description is not None and description.mode == "detail" and not is_locked(model):
        raise ValueError(no_base_given(node, source_of(model)))


def check_draws_detail(node: str, model: Any) -> None:
    """Raise ValueError unless the model draws the detail alone."""
    description = description_of(model)
    if description is None or description.mode != "detail":
        raise ValueError(
            f"{node} needs a detail adapter, but {describe_model(model)} draws base and detail together: choose a "
            "detail adapter in Load DA-VAE SD3.5 Model, or use DA-VAE Sampler."
        )


def _channels(layout: LatentLayout) -> tuple[int, int, int]:
    """What tells two layouts apart at sight."""
    return layout.base_channels, layout.detail_channels, layout.factor


def _require_ours(node: str, model: Any, latent: dict[str, Any]) -> ModelDescription:
    description = description_of(model)
    if description is None:
        raise ValueError(
            f"{node} got a latent of shape {list(latent['samples'].shape)} and {describe_model(model)}: connect Load "
            "DA-VAE SD3.5 Model for a DA-VAE latent, or use KSampler for an ordinary one."
        )
    return description


def _check_values(node: str, model: Any, layout: LatentLayout, samples: Tensor) -> None:
    check_finite(samples)
    base = split(samples, layout)[0]
    if not base.any():
        raise ValueError(
            f"{node} got an empty latent, but {describe_model(model)} needs a base to draw detail on: connect what "
            "KSampler has drawn, or a picture from DA-VAE Encode."
        )
    spread = float(base_to_model_space(base.float(), layout).std())
    if spread > LARGEST_SPREAD:
        raise ValueError(
            f"{node} got a base whose values spread {spread:.1f} times as far as those that {describe_model(model)} "
            "draws on, so another VAE made it, perhaps FLUX's: decode it with that one and encode the picture with "
            "DA-VAE Encode."
        )


def _check_origin(
    node: str, model: Any, description: ModelDescription, latent: dict[str, Any]
) -> None:
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
    factor, advice = description.layout.factor, description.advice
    height, width = (side * factor for side in samples.shape[-2:])
    if not advice.is_near(width, height):
        raise ValueError(
            f"{node} got a latent of {width}x{height} pixels, but {describe_model(model)} was trained at "
            f"{advice.trained_words}: use a latent of about that many pixels, or an adapter trained for this size."
        )
    crowded = too_many_tokens(node, model.model, samples.shape)
    if crowded is not None:
        raise ValueError(crowded)
