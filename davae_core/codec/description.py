"""What the file of a codec, or of a pretrained VAE of ours, says of itself: its header, read without PyTorch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ..files import CheckpointError
from ..format import KIND_CODEC, damaged, layout_from, read_metadata, what_is
from ..layout import Channels, Number
from ..reading.plain_text import plain, shown
from ..reading.typed import Limits, build, picked
from .level_counts import level_blocks, small_level_blocks
from .shapes import codec_shapes
from .sizes import AnyConfig, Backbone, CodecConfig, KLConfig, PackedConfig, SmallConfig, StemOrder
from .stock_saved import codec_header

STATISTICS = ("detail.mean", "detail.std", "detail.prediction", "detail.axes")
"""What a codec file keeps in float32 whatever its weights are in: the detail's channel statistics, and a packing."""
PACKED = "packed"
"""What `codec` says in the file of a PackedVAE; a DetailAlignedVAE's says nothing."""


@dataclass(frozen=True)
class BaseNumbers:
    """What our own base file says beside its sizes."""

    latent_channels: Channels
    shift: Number
    scale: Number


@dataclass(frozen=True)
class _Switches:
    """What a codec file says beside its sizes."""

    stem_order: StemOrder
    shared_trunk: bool


@dataclass(frozen=True)
class _PackedNumbers:
    """What a packed codec's file says beside its sizes."""

    alignment: Annotated[float, Limits(0.0, 1.0)]


def read_codec_config(path: str | Path) -> AnyConfig:
    """The configuration of a codec file, from its header alone: no weights are read. Raises as `read_codec_file`."""
    shapes, metadata = codec_header(path)
    return codec_config(path, shapes, metadata)


def codec_config(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> AnyConfig:
    """The configuration a codec file's metadata gives, after checking its keys and shapes. Raises CheckpointError."""
    described = read_metadata(path, metadata)
    if not described and set(STATISTICS[:2]) <= shapes.keys():
        raise CheckpointError(
            f"{path} is a DA-VAE that lost its description, as a program that drops metadata writes it: use the file "
            "that it was made from."
        )
    if described.get("kind") != KIND_CODEC:
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a DA-VAE: pick a DA-VAE file (models/vae)."
        )
    try:
        config = _config_from(described)
        check_counts(config.backbone, shapes)
    except ValueError as error:
        raise damaged(path, error) from error
    try:
        wanted = codec_shapes(config, has_base_decoder(shapes))
    except ValueError as error:
        raise damaged(path, error) from error
    check_keys(path, shapes, wanted)
    return config


def _config_from(described: Mapping[str, Any]) -> AnyConfig:
    """The configuration in our JSON. Raises ValueError when it is damaged."""
    layout = layout_from(described.get("layout", {}))
    backbone = backbone_from(described.get("backbone", {}))
    if described.get("codec") == PACKED:
        numbers = build(_PackedNumbers, picked(_PackedNumbers, described))
        return PackedConfig(layout, backbone, numbers.alignment)
    switches = build(_Switches, picked(_Switches, described))
    return CodecConfig(layout, backbone, switches.stem_order, switches.shared_trunk)


def backbone_from(values: Mapping[str, Any]) -> Backbone:
    """The sizes in our JSON; a KL autoencoder has a width per level, a small one has one width.

    Raises ValueError when they are damaged.
    """
    return build(SmallConfig, values) if "width" in values else build(KLConfig, values)


def check_counts(backbone: Backbone, names: Iterable[str]) -> None:
    """Raise ValueError unless the encoder has as many levels and blocks in the file as the sizes say.

    Before anything of these sizes is built: a few bytes can ask for a great many layers.
    """
    if isinstance(backbone, KLConfig):
        told, found = (len(backbone.widths), backbone.res_blocks), level_blocks(names)
    else:
        told, found = (backbone.levels, backbone.blocks), small_level_blocks(names)
    if told != found:
        raise ValueError(
            f"it tells of {told[0]} levels with {told[1]} blocks, but the tensors' names of {found[0]} with {found[1]}"
        )


def check_keys(
    path: str | Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise CheckpointError, naming `path`, unless its tensors have the names and shapes that are wanted."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds the unknown tensor {plain(extra[0])}"
        raise CheckpointError(
            f"{path} {what} ({len(missing)} missing, {len(extra)} unknown), so it is not the DA-VAE its metadata "
            "describes: download or write it again."
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise CheckpointError(
                f"{path} has {name} of shape {shown(list(found[name]))} where its metadata means {list(shape)}: "
                "download or write it again."
            )


def has_base_decoder(names: Iterable[str]) -> bool:
    """Whether a codec's tensors hold the base VAE's own decoder, which a compact file lacks."""
    return any(name.startswith("decoder.") for name in names)


def base_numbers(path: str | Path, described: Mapping[str, Any]) -> BaseNumbers:
    """What the metadata of our own base file says. Raises CheckpointError when it is damaged."""
    try:
        return build(BaseNumbers, picked(BaseNumbers, described))
    except ValueError as error:
        raise damaged(path, error) from error
