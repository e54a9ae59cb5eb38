"""Our files: what they hold, how they say what they are, and how they are read (docs/method.md, "Files").

Every file is safetensors with a JSON object under the metadata key "davae": kind, format_version, layout, backbone,
stem_order and the hashes of its parents.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from .blocks import KLConfig
from .files import (
    METADATA_KEY,
    CheckpointError,
    read_safetensors,
    value_hash,
    write_safetensors,
)
from .latents import LatentLayout
from .stock_vae import diffusers_vae_to_ldm, kl_config_of, looks_like_diffusers_vae

FORMAT_VERSION = 1
KIND_CODEC = "vae"
KIND_BASE_VAE = "base_vae"
KIND_LATENT = "latent"
KIND_TEXT_ENCODER = "text_encoder"
PREFIXES = ("first_stage_model.", "vae.", "")
"""Where a stock checkpoint keeps its VAE; the empty prefix is a VAE file of its own."""

STATISTICS = ("detail.mean", "detail.std")
"""The detail's channel statistics, which a codec file keeps in float32 whatever its weights are in."""

SD3_SHIFT, SD3_SCALE = 0.0609, 1.5305
T = TypeVar("T")
Config = TypeVar("Config", LatentLayout, KLConfig)


@dataclass(frozen=True)
class BaseVae:
    """A pretrained VAE and what turns its latent into model space: (x - shift) * scale."""

    vae: KLAutoencoder
    shift: float
    scale: float


def read_metadata(path: str | Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Our JSON from a file's metadata, {} when there is none. Raises CheckpointError when it is damaged or too new."""
    if METADATA_KEY not in metadata:
        return {}
    try:
        found: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise CheckpointError(
            f"{path} has damaged DA-VAE metadata: download or write it again."
        ) from error
    if not _is_ours(found):
        raise CheckpointError(f"{path} has damaged DA-VAE metadata: download or write it again.")
    if found["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written in format {found['format_version']}, this version reads up to {FORMAT_VERSION}: "
            "update DA-VAE."
        )
    return found


def _is_ours(found: Any) -> bool:
    """Whether the JSON has our shape: the right kind of value under every key that is there."""
    return (
        isinstance(found, dict)
        and isinstance(found.get("format_version"), int)
        and isinstance(found.get("kind"), str)
        and all(isinstance(found.get(key, {}), dict) for key in ("layout", "backbone", "parents"))
    )


def write_described(
    path: str | Path, tensors: Mapping[str, Tensor], described: Mapping[str, Any]
) -> None:
    """Write tensors with our JSON in the metadata. Raises CheckpointError when it cannot."""
    write_safetensors(path, tensors, {METADATA_KEY: json.dumps(described)})


def read_codec_file(path: str | Path) -> tuple[CodecConfig, dict[str, Tensor]]:
    """Configuration and tensors of a codec file, keys and shapes checked against each other.

    Raises CheckpointError for anything that is not one, saying what it is instead and what to pick.
    """
    tensors, metadata = read_safetensors(path)
    config = codec_config(path, _shapes(tensors), metadata)
    mean, std = tensors["detail.mean"], tensors["detail.std"]
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise CheckpointError(
            f"{path} holds detail statistics that cannot be used (not finite, or a deviation of 0): "
            "download or write it again."
        )
    return config, tensors


def codec_config(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> CodecConfig:
    """The configuration a codec file's metadata gives, after checking its keys and shapes. Raises CheckpointError."""
    described = read_metadata(path, metadata)
    if described.get("kind") != KIND_CODEC:
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a DA-VAE: pick a DA-VAE file (models/vae)."
        )
    config = _config_from(path, described)
    check_codec_shapes(path, config, shapes)
    return config


def check_codec_shapes(
    path: str | Path, config: CodecConfig, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise CheckpointError, naming `path`, unless the tensors are those of a codec of this configuration."""
    try:
        with torch.device("meta"):
            codec = DetailAlignedVAE(config, base_decoder="decoder.conv_in.weight" in shapes)
    except (TypeError, ValueError) as error:
        raise damaged(path, error) from error
    _check_keys(path, shapes, _shapes(codec.state_dict()))


def damaged(path: str | Path, error: Exception) -> CheckpointError:
    """The sentence for a file whose description is damaged in the way `error` says."""
    reason = str(error).rstrip(".")
    return CheckpointError(
        f"{path} has damaged DA-VAE metadata ({reason}): download or write it again."
    )


def _config_from(path: str | Path, described: Mapping[str, Any]) -> CodecConfig:
    try:
        return CodecConfig(
            layout=layout_from(described["layout"]),
            backbone=_dataclass_from(KLConfig, described["backbone"]),
            stem_order=described["stem_order"],
            shared_trunk=bool(described["shared_trunk"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def layout_from(values: Mapping[str, Any]) -> LatentLayout:
    """The layout in our JSON. Raises TypeError or ValueError when it is damaged."""
    return _dataclass_from(LatentLayout, values)


def _dataclass_from(kind: type[Config], values: Mapping[str, Any]) -> Config:
    arguments: dict[str, Any] = {
        field.name: tuple(found) if isinstance(found, list) else found
        for field in fields(kind)
        if (found := values.get(field.name)) is not None
    }
    return kind(**arguments)


def _check_keys(
    path: str | Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds the unknown tensor {extra[0]}"
        raise CheckpointError(
            f"{path} {what} ({len(missing)} missing, {len(extra)} unknown), so it is not the DA-VAE its metadata "
            "describes: download or write it again."
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise CheckpointError(
                f"{path} has {name} of shape {list(found[name])} where its metadata means {list(shape)}: "
                "download or write it again."
            )


def encoding_part(tensors: Mapping[str, T]) -> dict[str, T]:
    """Those tensors of a codec that decide what its latents mean."""
    parts = ("encoder.", "quant_conv.", "detail.")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(parts)}


def write_codec_file(
    path: str | Path,
    config: CodecConfig,
    tensors: Mapping[str, Tensor],
    compact: bool = False,
    parents: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a codec file; the hash of the base encoder in it is always among the parents.

    `compact` leaves the base decoder out. `dtype` None keeps the weights' own; the statistics are never rounded. What
    the codec's latents are known by (latent_files.encoding_hash) is taken before any rounding, so copies of less
    precision keep it.
    """
    encoding = value_hash(encoding_part(tensors))
    kept = {
        name: tensor if name in STATISTICS else tensor.to(dtype or tensor.dtype)
        for name, tensor in tensors.items()
    }
    base = {
        name: tensor
        for name, tensor in kept.items()
        if name.startswith(("encoder.", "quant_conv."))
    }
    if compact:
        kept = {
            name: t
            for name, t in kept.items()
            if not name.startswith(("decoder.", "post_quant_conv."))
        }
    described = {
        "kind": KIND_CODEC,
        "format_version": FORMAT_VERSION,
        "layout": asdict(config.layout),
        "backbone": asdict(config.backbone),
        "stem_order": config.stem_order,
        "shared_trunk": config.shared_trunk,
        "encoding": encoding,
        "parents": {"base_encoder": value_hash(base), **(parents or {})},
    }
    write_described(path, kept, described)


def save_base_vae(
    path: str | Path,
    vae: KLAutoencoder,
    shift: float,
    scale: float,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a plain KL autoencoder with its measured shift and scale; its keys are a stock file's.

    `dtype` None keeps the weights' own.
    """
    described = {
        "kind": KIND_BASE_VAE,
        "format_version": FORMAT_VERSION,
        "backbone": asdict(vae.backbone),
        "latent_channels": vae.latent_channels,
        "shift": shift,
        "scale": scale,
        "parents": {},
    }
    weights = vae.state_dict()
    write_described(path, {k: v.to(dtype or v.dtype) for k, v in weights.items()}, described)


def load_base_vae(path: str | Path, channels: int | None = None) -> BaseVae:
    """A pretrained VAE from our own base file, a stock VAE file, a full checkpoint, or a diffusers file or folder.

    `channels`: how many latent channels it must have (16 for SD3), if that matters. Shift and scale come from our
    metadata or the folder's config.json, else they are SD3's. Raises CheckpointError.
    """
    path = Path(path)
    file = weights_file(path)
    settings = _diffusers_settings(file.parent)
    tensors, metadata = read_safetensors(file)
    described = read_metadata(file, metadata)
    if described.get("kind") not in (None, KIND_BASE_VAE):
        raise CheckpointError(
            f"{file} is {what_is(_shapes(tensors), described)}, not a plain VAE: pick the VAE it came from."
        )
    stock = _stock_vae_tensors(file, tensors, described)
    found = stock["decoder.conv_in.weight"].shape[1]
    if channels is not None and found != channels:
        raise CheckpointError(
            f"{file} is a VAE with {found} latent channels, but {channels} are needed: "
            f"pick {'the SD3 VAE' if channels == 16 else 'the VAE this DA-VAE starts from'}, not an SD1 or SDXL one."
        )
    backbone = _backbone_of(file, stock, described, settings)
    with torch.device("meta"):
        vae = KLAutoencoder(backbone, found)
    _check_keys(file, _shapes(stock), _shapes(vae.state_dict()))
    vae.load_state_dict(stock, assign=True)
    shift = described.get("shift", settings.get("shift_factor", SD3_SHIFT))
    scale = described.get("scale", settings.get("scaling_factor", SD3_SCALE))
    return BaseVae(vae.eval(), float(shift or 0.0), float(scale))


def _backbone_of(
    file: Path,
    stock: Mapping[str, Tensor],
    described: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> KLConfig:
    if "backbone" in described:
        return _dataclass_from(KLConfig, described["backbone"])
    try:
        return kl_config_of(stock, norm_groups=settings.get("norm_num_groups", 32))
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{file} is not a VAE this project knows ({error}): pick the stock SD3 VAE."
        ) from error


def _diffusers_settings(folder: Path) -> dict[str, Any]:
    config = folder / "config.json"
    if not config.is_file():
        return {}
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config} is not valid JSON: download the folder again.") from error
    return found if isinstance(found, dict) and found.get("_class_name") == "AutoencoderKL" else {}


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
            part = {k: v for k, v in part.items() if k.split(".")[0] in VAE_PARTS}
            return diffusers_vae_to_ldm(part) if looks_like_diffusers_vae(part) else part
    raise CheckpointError(
        f"{file} is {what_is(_shapes(tensors), described)}, not a VAE: pick a VAE file or a checkpoint that holds one."
    )


VAE_PARTS = ("encoder", "decoder", "quant_conv", "post_quant_conv")


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def what_is(shapes: Mapping[str, tuple[int, ...]], described: Mapping[str, Any]) -> str:
    """A few words for what a file holds, from its metadata or its tensor names; used in error sentences."""
    kinds = {
        KIND_CODEC: "a DA-VAE",
        KIND_BASE_VAE: "a plain base VAE",
        KIND_LATENT: "a stored latent",
        KIND_TEXT_ENCODER: "a miniature CLIP text encoder",
        "adapter": "a DA-VAE adapter",
        "merged": "a merged DA-VAE model",
    }
    if described.get("kind") in kinds:
        return kinds[described["kind"]]
    names = shapes.keys()
    for prefix in PREFIXES:
        if len(shapes.get(f"{prefix}decoder.conv_in.weight", ())) == 4:
            channels = shapes[f"{prefix}decoder.conv_in.weight"][1]
            where = (
                "a full checkpoint with a VAE" if prefix == "first_stage_model." else "a plain VAE"
            )
            return f"{where} of {channels} latent channels"
    if any(
        name.endswith(("lora_A.weight", "lora_down.weight", "lora_up.weight")) for name in names
    ):
        return "a LoRA"
    if any(name.endswith("davae.description") for name in names):
        return kinds["merged"]
    if any("joint_blocks." in name or "transformer_blocks." in name for name in names):
        return "a diffusion transformer"
    if "text_model.embeddings.token_embedding.weight" in names:
        width = shapes["text_model.embeddings.token_embedding.weight"][-1]
        return f"a CLIP text encoder of width {width}"
    if any(name.startswith("encoder.block.") for name in names):
        return "a T5 text encoder"
    return "an unknown kind of file" if names else "a file without tensors"
