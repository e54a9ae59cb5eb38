"""Finding the pretrained VAE that a codec grows from, or a cache is made with: a path or a Hugging Face id."""

from __future__ import annotations

from pathlib import Path

from davae_core.codec.files import BaseVae, load_base_vae
from davae_core.codec.sd3_space import LEAST_LIKENESS, sd3_likeness
from davae_core.codec.small import SmallConfig
from davae_core.presets import SD3
from davae_core.published.vavae import SUFFIXES as PICKLES
from davae_core.published.vavae import load_vavae

from .errors import TrainingError
from .hub import PREFIX, HubPlace, existing_path, hub_place

_WANTED = ("config.json", "diffusion_pytorch_model.safetensors")
_FOLDER = "vae"


def load_base_source(source: str, key: str, channels: int | None = None) -> BaseVae:
    """The VAE at a path (single file, full checkpoint, diffusers folder, own base file, VA-VAE's .pt) or of a Hugging
    Face id.

    An id has `hf:` before it and may name a folder or a file after a colon: `hf:owner/name:vae`,
    `hf:owner/name:vae.safetensors`; without one it is the folder `vae`. `key` is the setting that names the VAE,
    `channels` how many latent channels it must have, if that matters. Where it does not say its shift and scale they
    are SD3's, and a small VAE's latents must be so too. Raises CheckpointError or TrainingError, one sentence.
    """
    place = hub_place(source, key)
    if place is not None:
        return _in_its_space(source, load_base_vae(_from_hub(place, key), channels, SD3.layout))
    wanted = (
        "a VAE file, a diffusers folder or a Hugging Face id such as "
        f"{PREFIX}stabilityai/stable-diffusion-3.5-medium:{_FOLDER}"
    )
    path = existing_path(source, key, wanted)
    if path.suffix in PICKLES:
        return _of_channels(path, load_vavae(path), channels)
    return _in_its_space(source, load_base_vae(path, channels, SD3.layout))


def _of_channels(path: Path, found: BaseVae, channels: int | None) -> BaseVae:
    own = found.layout.base_channels
    if channels is not None and own != channels:
        raise TrainingError(
            f"{path} is a VAE with {own} latent channels, but {channels} are needed: name the VAE of that preset."
        )
    return found


def _in_its_space(source: str, found: BaseVae) -> BaseVae:
    """`found`, unless it is a small VAE that passes for SD3's without having its latents."""
    layout, sd3 = found.layout, SD3.layout
    said = (layout.base_channels, layout.base_shift, layout.base_scale)
    if not isinstance(found.vae.backbone, SmallConfig) or said != (
        sd3.base_channels,
        sd3.base_shift,
        sd3.base_scale,
    ):
        return found
    likeness = sd3_likeness(found.vae.float())
    if likeness < LEAST_LIKENESS:
        raise TrainingError(
            f"{source} is a small VAE whose latents are not Stable Diffusion 3's (likeness {likeness:.2f}, where "
            "TAESD3's have 1): name TAESD3's files; TAEF1, for FLUX.1, has the same shapes."
        )
    return found


def _from_hub(place: HubPlace, key: str) -> Path:
    # Imported here: a run on local files needs no hub client.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, inside = place.repository, place.inside or _FOLDER
    try:
        if inside.endswith(".safetensors"):
            return Path(hf_hub_download(repository, inside))
        files = [Path(hf_hub_download(repository, f"{inside}/{name}")) for name in _WANTED]
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise TrainingError(
            f"{key} {repository}:{inside} could not be fetched from Hugging Face ({reason}): check the id, accept the "
            "model's licence and log in, or give a local file."
        ) from error
    return files[0].parent
