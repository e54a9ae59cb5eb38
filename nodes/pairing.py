"""Does what was connected belong together? One sentence that names both sides when it does not."""

from torch import Tensor

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
