"""What a file is, what it holds and what it needs, from its header and without PyTorch (`davae inspect`, File Info)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .codec import stock_saved
from .codec.description import base_numbers, codec_config, has_base_decoder
from .codec.sizes import AnyConfig, PackedConfig, phase_channels
from .files import read_shapes
from .format import (
    KIND_ADAPTER,
    KIND_BASE_VAE,
    KIND_CLASS_MODEL,
    KIND_CODEC,
    KIND_LATENT,
    KIND_MERGED,
    KIND_TEXT_ENCODER,
    SAMPLES,
    damaged,
    layout_from,
    read_metadata,
    what_is,
)
from .layout import LatentLayout, token_count
from .lightning.description import ClassModelDescription, describe_class_model
from .mini.text_config import CLIP_G_WIDTH, TextConfig, text_config
from .presets import PATCH, SD3
from .reading.plain_text import plain, shown
from .transformer.description import (
    DESCRIPTION,
    ModelDescription,
    describe_file,
    description_inside,
    not_whole,
)
from .transformer.names import DOWN, EMBEDDER, EMBEDDER_WEIGHT, QUANTISED, count_blocks
from .transformer.pretrained import without_prefix

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class FileReport:
    """What `inspect_file` found: the kind, sentences for people, and the same as plain data."""

    kind: str
    lines: tuple[str, ...]
    data: dict[str, Any]


def inspect_file(path: str | Path) -> FileReport:
    """What a safetensors file is, what it holds and what it needs.

    The lines are plain text, whatever the file says: they go to terminals and into pages. Raises CheckpointError when
    it cannot be read.
    """
    found, metadata = read_shapes(path)
    shapes = {name: shape for name, (shape, _) in found.items()}
    described = read_metadata(path, metadata)
    parameters = sum(math.prod(shape) for shape in shapes.values())
    data: dict[str, Any] = {
        "file": str(path),
        "kind": described.get("kind", "other"),
        "tensors": len(shapes),
        "parameters": parameters,
        "dtypes": sorted({dtype for _, dtype in found.values()}),
        "metadata": described,
    }
    saved = None if described else stock_saved.prefix_of(shapes)
    if saved is not None:
        shapes, metadata = stock_saved.codec_header(path)
        described = data["metadata"] = read_metadata(path, metadata)
        data["kind"] = described.get("kind", "other")
        parameters = sum(math.prod(shape) for shape in shapes.values())
    inside = next((name for name in found if name.endswith(DESCRIPTION)), None)
    if inside is not None and not described:
        described = data["metadata"] = description_inside(path, inside, found[inside]).as_json()
        data["kind"] = described["kind"]
    lines = [
        f"{plain(Path(path).name)} is {what_is(shapes, described)}: {_count(parameters)} parameters, "
        f"{len(shapes)} tensors."
    ]
    lines += _lines_of(data["kind"], path, shapes, described, metadata)
    if saved:
        lines.append(
            "It is a part of a checkpoint: in models/checkpoints Load DA-VAE offers it if its name says davae."
        )
        lines += [] if inside is None else _model_beside(path, inside, found[inside])
    if not described:
        lines.append("It was not written by this project (no DA-VAE metadata).")
    return FileReport(data["kind"], tuple(lines), data)


def _model_beside(path: str | Path, name: str, kind: tuple[tuple[int, ...], str]) -> list[str]:
    """The lines of the DA-VAE model in the same checkpoint, whose description is the tensor `name`."""
    model = description_inside(path, name, kind)
    return ["Beside it there is a DA-VAE model:", *_merged_lines(model)]


def _lines_of(
    kind: str,
    path: str | Path,
    shapes: Shapes,
    described: Mapping[str, Any],
    metadata: Mapping[str, str],
) -> list[str]:
    if kind == KIND_CODEC:
        config = codec_config(path, shapes, metadata)
        return _codec_lines(config, has_base_decoder(shapes), described)
    if kind == KIND_BASE_VAE:
        return _base_lines(path, described)
    if kind == KIND_TEXT_ENCODER:
        return _text_encoder_lines(text_config(path, described))
    if kind == KIND_LATENT:
        return _latent_lines(path, shapes, described)
    if kind == KIND_ADAPTER:
        return _adapter_lines(shapes, describe_file(path, shapes, metadata))
    if kind == KIND_CLASS_MODEL:
        return _class_model_lines(describe_class_model(path, shapes, metadata))
    if kind == KIND_MERGED:
        try:
            return _merged_lines(ModelDescription.from_json(described))
        except ValueError as error:
            raise not_whole(path, kind, error) from error
    return _transformer_lines(shapes)


def _base_lines(path: str | Path, described: Mapping[str, Any]) -> list[str]:
    numbers = base_numbers(path, described)
    return [
        f"Latent: {numbers.latent_channels} channels; model space is (x - {numbers.shift:.4f}) * {numbers.scale:.4f}. "
        "A DA-VAE can be trained on it (python -m training vae)."
    ]


def _text_encoder_lines(sizes: TextConfig) -> list[str]:
    width = sizes.hidden_size
    return [
        f"Text: {sizes.num_hidden_layers} layers of width {width} over CLIP's own vocabulary; as the only text encoder "
        f"it gives a context of 77 tokens and {width + CLIP_G_WIDTH} pooled channels. Load Miniature CLIP reads it."
    ]


def _codec_lines(config: AnyConfig, base_decoder: bool, described: Mapping[str, Any]) -> list[str]:
    layout = config.layout
    size = 64 * layout.factor
    plain = replace(layout, detail_channels=0, ratio=1)
    return [
        f"{_channels(layout)} ({size}x{size} pixels: [{layout.channels}, 64, 64], "
        f"{token_count(size, size, layout, PATCH)} tokens where the plain "
        f"VAE needs {token_count(size, size, plain, PATCH)}).",
        "Drafts: "
        + (
            "yes, the base decoder is inside."
            if base_decoder
            else "with the stock VAE (compact file)."
        ),
        _detail_line(config),
        "In ComfyUI: models/vae; Load DA-VAE reads it.",
        f"Base encoder: {described.get('parents', {}).get('base_encoder', 'unknown')[:12]}.",
    ]


def _detail_line(config: AnyConfig) -> str:
    if isinstance(config, PackedConfig):
        most, detail = phase_channels(config.layout), config.layout.detail_channels
        loss = "nothing is lost" if detail == most else f"exact would be {most}"
        return (
            f"Packed: {detail} detail channels of the VAE's own full-size latent ({loss}), alignment "
            f"{config.alignment:g}; nothing in it was trained."
        )
    return "Trunk: " + ("shared with the base encoder." if config.shared_trunk else "its own.")


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters / 1e3:.1f} k"


def _latent_lines(path: str | Path, shapes: Shapes, described: Mapping[str, Any]) -> list[str]:
    try:
        layout = layout_from(described.get("layout", {}))
        if len(shapes.get(SAMPLES, ())) != 4:
            raise ValueError(f"{SAMPLES} has the shape {shown(list(shapes.get(SAMPLES, ())))}")
    except ValueError as error:
        raise damaged(path, error) from error
    batch, channels, height, width = shapes[SAMPLES]
    made_by = described.get("parents", {}).get("vae")
    return [
        f"Latent: {batch} of {width * layout.factor}x{height * layout.factor} pixels, {channels} channels of "
        f"{height}x{width} cells, in VAE space; "
        f"{token_count(width * layout.factor, height * layout.factor, layout, PATCH)} tokens at patch size {PATCH}.",
        f"Needs: the DA-VAE that made it{'' if made_by is None else f' ({made_by[:12]})'}: "
        "`davae decode` makes the picture.",
    ]


def _adapter_lines(shapes: Shapes, description: ModelDescription) -> list[str]:
    ranks = sorted({shape[0] for name, shape in shapes.items() if name.endswith(DOWN) and shape})
    layers = sum(name.endswith(DOWN) for name in shapes)
    rank = "-".join(str(edge) for edge in dict.fromkeys((ranks or [0])[:1] + ranks[-1:]))
    return [
        f"{_channels(description.layout)}; a LoRA of rank {rank} on {layers} layers, and the whole patch embedder and "
        "output head.",
        f"Needs: {_base(description)}, and {_vae(description)}.",
        _advice(description),
        "In ComfyUI: models/loras; choose it in Load DA-VAE SD3.5 Model together with that model. `davae merge` makes "
        "one file of both.",
    ]


def _merged_lines(description: ModelDescription) -> list[str]:
    return [
        f"{_channels(description.layout)}; a whole model, which needs no adapter (made from {_base(description)}).",
        f"Needs: {_vae(description)}.",
        _advice(description),
        "In ComfyUI: models/diffusion_models; Load DA-VAE SD3.5 Model and the stock Load Diffusion Model read it.",
    ]


def _class_model_lines(description: ClassModelDescription) -> list[str]:
    sizes, advice, layout = description.sizes, description.advice, description.layout
    side, tokens = sizes.side * sizes.patch * layout.factor, f"{sizes.side}x{sizes.side} tokens"
    vae = "the plain VAE" if not layout.detail_channels else "the DA-VAE"
    return [
        f"{_channels(layout)}; LightningDiT of width {sizes.width} with {sizes.blocks} blocks.",
        f"Draws {sizes.classes} classes at {side}x{side} with {tokens}.",
        f"Needs: {vae} it was trained with ({description.parents.get('vae', 'not told')[:12]}).",
        f"Sample with shift {advice.shift:g}, {advice.steps} steps, guidance {advice.guidance:g} below the level "
        f"{advice.guided_below:g}: `python -m training sample`.",
    ]


def _channels(layout: LatentLayout) -> str:
    return (
        f"Latent: {layout.base_channels} base + {layout.detail_channels} detail channels, "
        f"{layout.factor} pixels per cell"
    )


def _base(description: ModelDescription) -> str:
    return description.parents.get("base_name", "the pretrained model it was trained on")


def _vae(description: ModelDescription) -> str:
    own = description.parents.get("vae")
    return "a DA-VAE" if own is None else f"the DA-VAE it was trained with ({own[:12]})"


def _advice(description: ModelDescription) -> str:
    advice = description.advice
    sizes = advice.trained_words or "sizes it does not say"
    how = f"shift {advice.shift:g}, {advice.steps} steps, guidance {advice.guidance:g}"
    what = {
        "joint": "Draws base and detail together",
        "detail": "Draws the detail alone, on a base that the untouched model has drawn",
    }[description.mode]
    return f"{what}. Sample with {how}; trained at {sizes}."


def _transformer_lines(shapes: Shapes) -> list[str]:
    """What a pretrained transformer, alone or in a full checkpoint, can be used for; nothing for other files."""
    inner = without_prefix(shapes)
    shape = inner.get(EMBEDDER_WEIGHT, inner.get(f"{EMBEDDER}.weight", ()))
    if len(shape) != 4:
        return []
    quantised = any(name.endswith(QUANTISED) for name in inner)
    return [
        f"Transformer: Stable Diffusion 3 of width {shape[0]} with {count_blocks(inner)} blocks, for latents of "
        f"{shape[1]} channels.",
        _use(shape[1], quantised),
    ]


def _use(channels: int, quantised: bool) -> str:
    if channels == SD3.layout.channels:
        return "It is widened already, as a DA-VAE model is: it needs no adapter."
    if channels != SD3.layout.base_channels:
        return f"It cannot be widened for a DA-VAE of SD3, whose base has {SD3.layout.base_channels} channels."
    if quantised:
        return (
            "It is stored quantised, so `davae merge` cannot take it: get it in float16, bfloat16, float32 or plain "
            "float8."
        )
    return (
        "It can be widened for a DA-VAE: choose it in Load DA-VAE SD3.5 Model with an adapter made for it, or give it "
        "to `davae merge`."
    )
