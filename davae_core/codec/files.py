"""Codec files, and the pretrained VAEs that codecs start from: reading, checking, writing (docs/method.md, "Files")."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor, nn

from ..files import CheckpointError, read_safetensors, reason_of, value_hash
from ..format import (
    KIND_BASE_VAE,
    KIND_CODEC,
    PREFIXES,
    check_weights,
    damaged,
    read_metadata,
    shapes_of,
    what_is,
    write_described,
)
from ..layout import LatentLayout, Number
from ..reading.json_text import read_json
from ..reading.typed import Limits, build, picked
from .autoencoder import DetailAlignedVAE, KLAutoencoder
from .blocks import Ops
from .description import (
    PACKED,
    STATISTICS,
    backbone_from,
    base_numbers,
    check_counts,
    check_keys,
    has_base_decoder,
    read_codec_config,
)
from .packed import PackedVAE
from .sizes import AnyConfig, Backbone, PackedConfig, SmallConfig
from .small_files import as_one_file, latent_channels, small_config_of, small_vae_tensors
from .stock_saved import read_codec_part
from .stock_vae import kl_config_of, to_ldm_names

AnyCodec = DetailAlignedVAE | PackedVAE

T = TypeVar("T")


@dataclass(frozen=True)
class BaseVae:
    """A pretrained VAE and the layout of its latent, which has no detail."""

    vae: KLAutoencoder
    layout: LatentLayout


@dataclass(frozen=True)
class DiffusersSettings:
    """What a diffusers VAE's config.json says that cannot be seen from the weights."""

    norm_num_groups: Annotated[int, Limits(1, 8192)] = 32
    shift_factor: Number | None = None
    scaling_factor: Number | None = None

    def numbers(self, shift: float, scale: float) -> tuple[float, float]:
        """Shift and scale, those given where it does not say them."""
        return (
            shift if self.shift_factor is None else self.shift_factor,
            scale if self.scaling_factor is None else self.scaling_factor,
        )


def read_codec_file(path: str | Path) -> tuple[AnyConfig, dict[str, Tensor]]:
    """Configuration and tensors of a codec file, keys and shapes checked against each other.

    Raises CheckpointError for anything that is not one, saying what it is instead and what to pick.
    """
    # What a file is stands in its header: a stranger's checkpoint is not read for it.
    config = read_codec_config(path)
    tensors = read_codec_part(path)
    check_weights(path, tensors)
    numbers = [tensors[name] for name in STATISTICS if name in tensors]
    finite = all(torch.isfinite(found).all() for found in numbers)
    if not (finite and (tensors["detail.std"] > 0).all()):
        raise CheckpointError(
            f"{path} holds detail statistics that cannot be used (not finite, or a deviation of 0): "
            "download or write it again."
        )
    return config, tensors


def load_codec(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> AnyCodec:
    """Read a codec file, ready to run; `dtype` None keeps the file's. Raises CheckpointError."""
    config, tensors = read_codec_file(path)
    # Every weight comes from the file: on a real device fresh ones would be drawn first, and thrown away.
    with torch.device("meta"):
        codec = build_codec(config, tensors)
    codec.load_state_dict(tensors, assign=True)
    return codec.to(device=device, dtype=dtype).eval()


def build_codec(config: AnyConfig, names: Iterable[str], ops: Ops = nn) -> AnyCodec:
    """The codec that a file of this configuration holds, its weights fresh; compact where the tensors' `names` are."""
    if isinstance(config, PackedConfig):
        return PackedVAE(config, ops)
    return DetailAlignedVAE(config, ops, base_decoder=has_base_decoder(names))


def empty_codec(
    path: str | Path, config: AnyConfig, shapes: Mapping[str, tuple[int, ...]]
) -> AnyCodec:
    """A codec of this configuration without weights, on the device meta; it has a base decoder where `shapes` do.

    Raises CheckpointError, naming `path`, unless tensors of these shapes are all that it needs.
    """
    try:
        with torch.device("meta"):
            codec = build_codec(config, shapes)
    except (RuntimeError, ValueError) as error:  # the sizes' product may be beyond any tensor's
        raise damaged(path, error) from error
    check_keys(path, shapes, shapes_of(codec.state_dict()))
    return codec


def encoding_part(tensors: Mapping[str, T]) -> dict[str, T]:
    """Those tensors of a codec, or of a pretrained VAE, that decide what its latents mean."""
    parts = ("encoder.", "quant_conv.", "detail.")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(parts)}


def save_codec(
    path: str | Path,
    codec: AnyCodec,
    compact: bool = False,
    dtype: torch.dtype | None = None,
    encoding: str | None = None,
) -> None:
    """Write a codec file; its parent is the base encoder in it, by hash.

    `compact` leaves the base decoder out. `dtype` None keeps the weights' own; the statistics are never rounded. What
    the codec's latents are known by (latent_files.encoding_hash) is taken before any rounding, so copies of less
    precision keep it; `encoding` gives it for a codec whose encoder came from a file and stayed as it was. Raises
    CheckpointError, and ValueError for a compact packed codec: its decoder is the base's.
    """
    packed = isinstance(codec, PackedVAE)
    if packed and compact:
        raise ValueError(
            "A packed DA-VAE decodes with the base decoder: it cannot be written compact."
        )
    config, tensors = codec.config, codec.state_dict()
    kept = {
        name: tensor if name in STATISTICS else tensor.to(dtype or tensor.dtype)
        for name, tensor in tensors.items()
    }
    base = {n: t for n, t in encoding_part(kept).items() if not n.startswith("detail.")}
    if compact:
        kept = {
            name: t
            for name, t in kept.items()
            if not name.startswith(("decoder.", "post_quant_conv."))
        }
    described = {
        **({"codec": PACKED} if packed else {}),
        **asdict(config),
        "encoding": encoding or value_hash(encoding_part(tensors)),
        "parents": {"base_encoder": value_hash(base)},
    }
    write_described(path, kept, KIND_CODEC, described)


def save_base_vae(
    path: str | Path,
    vae: KLAutoencoder,
    shift: float,
    scale: float,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a plain VAE with its measured shift and scale; its keys are those of a file that stock ComfyUI loads.

    `dtype` None keeps the weights' own.
    """
    described = {
        "backbone": asdict(vae.backbone),
        "latent_channels": vae.latent_channels,
        "shift": shift,
        "scale": scale,
        "parents": {},
    }
    weights = {name: t.to(dtype or t.dtype) for name, t in vae.state_dict().items()}
    if isinstance(vae.backbone, SmallConfig):
        weights = as_one_file(weights, vae.backbone)
    write_described(path, weights, KIND_BASE_VAE, described)


def load_base_vae(
    path: str | Path, channels: int | None = None, like: LatentLayout | None = None
) -> BaseVae:
    """A pretrained VAE from our own base file, a stock VAE file, a full checkpoint, or a diffusers file or folder.

    Either file of TAESD's published pairs, with the other beside it, is a VAE too, and so is the one in a DA-VAE file
    that is not compact.
    `channels`: how many latent channels it must have, if that matters. Shift and scale come from our metadata or the
    folder's config.json, else they are those of `like`, or 0 and 1 without it. Raises CheckpointError.
    """
    path = Path(path)
    file = weights_file(path)
    settings = _diffusers_settings(file.parent)
    tensors, metadata = read_safetensors(file)
    described = read_metadata(file, metadata)
    if described.get("kind") == KIND_CODEC:
        return _base_within(file, channels)
    if described.get("kind") not in (None, KIND_BASE_VAE):
        raise CheckpointError(
            f"{file} is {what_is(shapes_of(tensors), described)}, not a plain VAE: pick the VAE it came from."
        )
    numbers = base_numbers(file, described) if described else None
    small = small_vae_tensors(file, tensors)
    if small is None:
        weights = _stock_vae_tensors(file, tensors, described)
        found = weights["decoder.conv_in.weight"].shape[1]
    else:
        weights, found = small, latent_channels(file, small)
    _check_channels(file, found, channels)
    backbone = (
        _backbone_of(file, weights, described, settings)
        if small is None
        else small_config_of(file, small, tensors, like)
    )
    unsaid = (0.0, 1.0) if like is None else (like.base_shift, like.base_scale)
    if isinstance(backbone, SmallConfig):
        unsaid = (backbone.shift, backbone.scale)
    shift, scale = settings.numbers(*unsaid) if numbers is None else (numbers.shift, numbers.scale)
    try:
        layout = LatentLayout(found, 0, backbone.factor, 1, shift, scale)
        with torch.device("meta"):
            vae = KLAutoencoder(backbone, found)
    except (RuntimeError, ValueError) as error:  # the sizes' product may be beyond any tensor's
        raise damaged(file, error) from error
    check_keys(file, shapes_of(weights), shapes_of(vae.state_dict()))
    check_weights(file, weights)
    vae.load_state_dict(weights, assign=True)
    return BaseVae(vae.eval(), layout)


def _check_channels(file: Path, found: int, wanted: int | None) -> None:
    if wanted is not None and found != wanted:
        raise CheckpointError(
            f"{file} is a VAE with {found} latent channels, but {wanted} are needed: "
            "pick the VAE this DA-VAE starts from, such as SD3's, not an SD1 or SDXL one."
        )


def _base_within(file: Path, channels: int | None) -> BaseVae:
    """The pretrained VAE that a codec file keeps as it was."""
    codec = load_codec(file)
    require_base_decoder(file, codec)
    layout, backbone = codec.layout, codec.config.backbone
    _check_channels(file, layout.base_channels, channels)
    numbers = layout.base_shift, layout.base_scale
    kept = LatentLayout(layout.base_channels, 0, backbone.factor, 1, *numbers)
    return BaseVae(base_of(codec), kept)


def require_base_decoder(file: str | Path, codec: AnyCodec) -> None:
    """Raise CheckpointError, naming `file`, for a compact codec."""
    if codec.decoder is None:
        raise CheckpointError(
            f"{file} is a compact DA-VAE, without its base decoder: pick the VAE it came from, or its whole file."
        )


def base_of(codec: AnyCodec) -> KLAutoencoder:
    """The pretrained VAE within a codec that is not compact, sharing its weights."""
    weights = {n: t for n, t in codec.state_dict().items() if n.split(".")[0] in VAE_PARTS}
    with torch.device("meta"):
        vae = KLAutoencoder(codec.config.backbone, codec.layout.base_channels)
    vae.load_state_dict(weights, assign=True)
    return vae.eval()


def _backbone_of(
    file: Path,
    stock: Mapping[str, Tensor],
    described: Mapping[str, Any],
    settings: DiffusersSettings,
) -> Backbone:
    try:
        if "backbone" not in described:
            return kl_config_of(stock, norm_groups=settings.norm_num_groups)
        backbone = backbone_from(described["backbone"])
        check_counts(backbone, stock)
        return backbone
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            f"{file} is not a VAE this project knows ({reason_of(error)}): pick the stock SD3 VAE."
        ) from error


def _diffusers_settings(folder: Path) -> DiffusersSettings:
    config = folder / "config.json"
    if not config.is_file():
        return DiffusersSettings()
    try:
        found = read_json(config)
    except ValueError as error:
        raise CheckpointError(f"{config} is not valid JSON: download the folder again.") from error
    if not isinstance(found, dict) or found.get("_class_name") != "AutoencoderKL":
        return DiffusersSettings()
    try:
        return build(DiffusersSettings, picked(DiffusersSettings, found))
    except ValueError as error:
        raise CheckpointError(
            f"{config} is no configuration of a VAE ({reason_of(error)}): download the folder again."
        ) from error


def weights_file(path: Path) -> Path:
    """The safetensors file that `load_base_vae` reads at `path`, a file or a folder. Raises CheckpointError."""
    if not path.is_dir():
        return path
    file = path / "diffusion_pytorch_model.safetensors"
    if file.is_file():
        return file
    if (path / "vae" / file.name).is_file():
        return path / "vae" / file.name
    raise CheckpointError(
        f"The folder {path} holds no {file.name}: give a diffusers VAE folder or a safetensors file."
    )


def _stock_vae_tensors(
    file: Path, tensors: Mapping[str, Tensor], described: Mapping[str, Any]
) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        first = tensors.get(f"{prefix}decoder.conv_in.weight")
        if first is not None and first.ndim == 4:
            part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            return to_ldm_names({k: v for k, v in part.items() if k.split(".")[0] in VAE_PARTS})
    raise CheckpointError(
        f"{file} is {what_is(shapes_of(tensors), described)}, "
        "not a VAE: pick a VAE file or a checkpoint that holds one."
    )


VAE_PARTS = ("encoder", "decoder", "quant_conv", "post_quant_conv")
