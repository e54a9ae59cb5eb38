"""Finding the pretrained VAE that a codec grows from, or a cache is made with: a path or a Hugging Face id."""

from __future__ import annotations

import re
from pathlib import Path

from davae_core.codec.files import BaseVae, load_base_vae
from davae_core.presets import SD3

from .errors import TrainingError

_HUB_ID = re.compile(r"^\w[\w.-]*/[\w.-]+(:[\w./-]+)?$")
_WANTED = ("config.json", "diffusion_pytorch_model.safetensors")


def load_base_source(source: str, key: str, channels: int | None = None) -> BaseVae:
    """The VAE at a path (single file, full checkpoint, diffusers folder, own base file) or a Hugging Face id.

    An id may name a subfolder or a file after a colon: `owner/name:vae`, `owner/name:vae.safetensors`; without one the
    subfolder `vae` is taken. `key` is the setting that names the VAE, `channels` how many latent channels it must have,
    if that matters. Where it does not say its shift and scale they are SD3's. Raises CheckpointError or TrainingError,
    one sentence.
    """
    path = Path(source).expanduser()
    if path.exists():
        return load_base_vae(path, channels, SD3.layout)
    if not _HUB_ID.match(source) or (path.suffix == ".safetensors" and ":" not in source):
        raise TrainingError(
            f"{key} names {source}, which does not exist: give a VAE file, a diffusers folder "
            "or a Hugging Face id such as stabilityai/stable-diffusion-3.5-medium:vae."
        )
    return load_base_vae(_from_hub(source, key), channels, SD3.layout)


def _from_hub(source: str, key: str) -> Path:
    # Imported here: a run on local files needs no hub client.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, inside = source.partition(":")
    inside = inside or "vae"
    try:
        if inside.endswith(".safetensors"):
            return Path(hf_hub_download(repository, inside))
        files = [Path(hf_hub_download(repository, f"{inside}/{name}")) for name in _WANTED]
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise TrainingError(
            f"{key} {source} could not be fetched from Hugging Face ({reason}): check the id, accept the "
            "model's licence and log in, or give a local file."
        ) from error
    return files[0].parent
