"""Latents on disk: one tensor `samples`, in VAE space, with its layout and codec (docs/method.md, "Files")."""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from ..files import CheckpointError, open_safetensors, read_safetensors, read_tensor, value_hash
from ..format import (
    KIND_LATENT,
    SAMPLES,
    check_weights,
    read_metadata,
    shapes_of,
    what_is,
    write_described,
)
from ..latents import LatentLayout, check_latents
from .autoencoder import Codec
from .files import encoding_part
from .stock_saved import codec_metadata, part_under, prefix_of


def save_latents(
    path: str | Path, latents: Tensor, layout: LatentLayout, codec_file: str | Path
) -> None:
    """Write latents [B, C + D, h, w] in VAE space that the codec in `codec_file` made. Raises CheckpointError."""
    described = {"layout": asdict(layout), "parents": {"vae": encoding_hash(codec_file)}}
    write_described(path, {SAMPLES: latents}, KIND_LATENT, described)


def load_latents(path: str | Path, codec: Codec, codec_file: str | Path) -> Tensor:
    """Latents [B, C + D, h, w] for `codec`, in its dtype and on its device.

    Raises CheckpointError when the file is no latent, belongs to another codec than the one in `codec_file`, has
    another layout, is empty or holds NaN.
    """
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    if SAMPLES not in tensors:
        raise CheckpointError(
            f"{path} is {what_is(shapes_of(tensors), described)}, not a latent: give a file written by `davae encode`."
        )
    check_weights(path, {SAMPLES: tensors[SAMPLES]})
    try:
        check_latents(tensors[SAMPLES], codec.layout)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be decoded with {codec_file}: {error}") from error
    made_by = described.get("parents", {}).get("vae")
    if made_by not in (None, encoding_hash(codec_file)):
        raise CheckpointError(
            f"{path} was encoded with another DA-VAE than {codec_file}: "
            "decode it with the file that encoded it, or encode the picture again."
        )
    return tensors[SAMPLES].to(next(codec.parameters()))


def encoding_hash(codec_file: str | Path) -> str:
    """What a codec's latents are known by: `value_hash` of the weights that decide what a latent means.

    Read from the file, because a codec may have been loaded in another dtype: as its writer noted it, who knew the
    weights before they were rounded, else of the weights it holds. Compact and whole files of one codec agree. Raises
    CheckpointError.
    """
    described = read_metadata(codec_file, codec_metadata(codec_file))
    if "encoding" in described:
        return str(described["encoding"])
    with open_safetensors(codec_file) as file:
        prefix = prefix_of(file.keys()) or ""
        names = encoding_part(dict.fromkeys(part_under(prefix, file.keys()), None))
        return value_hash({name: read_tensor(codec_file, file, prefix + name) for name in names})
