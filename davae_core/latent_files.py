"""Latents on disk: one tensor `samples`, in VAE space, with its layout and codec (docs/method.md, "Files")."""

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from .autoencoder import DetailAlignedVAE
from .checkpoints import FORMAT_VERSION, KIND_LATENT, read_metadata, what_is
from .files import METADATA_KEY, CheckpointError, read_safetensors, tensor_hash, write_safetensors
from .latents import check_latents

SAMPLES = "samples"
_ENCODING_PARTS = ("encoder.", "quant_conv.", "detail.")


def save_latents(path: str | Path, latents: Tensor, codec: DetailAlignedVAE) -> None:
    """Write latents [B, C + D, h, w] in VAE space that `codec` made. Raises CheckpointError when it cannot."""
    described = {
        "kind": KIND_LATENT,
        "format_version": FORMAT_VERSION,
        "layout": asdict(codec.layout),
        "parents": {"vae": encoding_hash(codec)},
    }
    write_safetensors(path, {SAMPLES: latents}, {METADATA_KEY: json.dumps(described)})


def load_latents(path: str | Path, codec: DetailAlignedVAE, codec_name: str | Path) -> Tensor:
    """Latents [B, C + D, h, w] for `codec`, in its dtype and on its device.

    Raises CheckpointError when the file is no latent, belongs to another codec than `codec_name`, has another layout or
    holds NaN.
    """
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    if SAMPLES not in tensors:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a latent: give a file written by `davae encode`."
        )
    try:
        check_latents(tensors[SAMPLES], codec.layout)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be decoded with {codec_name}: {error}") from error
    made_by = described.get("parents", {}).get("vae")
    if made_by not in (None, encoding_hash(codec)):
        raise CheckpointError(
            f"{path} was encoded with another DA-VAE than {codec_name}: "
            "decode it with the file that encoded it, or encode the picture again."
        )
    return _like_weights(tensors[SAMPLES], codec)


def encoding_hash(codec: DetailAlignedVAE) -> str:
    """SHA-256 of the weights that decide what a latent means; compact and whole files of one codec agree."""
    parts = codec.state_dict().items()
    return tensor_hash({name: part for name, part in parts if name.startswith(_ENCODING_PARTS)})


def _like_weights(latents: Tensor, codec: DetailAlignedVAE) -> Tensor:
    weight: Tensor = next(codec.parameters())
    return latents.to(device=weight.device, dtype=weight.dtype)
