"""Text encoder files: stock CLIP-L names in half precision, the sizes in the metadata (docs/method.md, "Files")."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors
from ..format import (
    FORMAT_VERSION,
    KIND_TEXT_ENCODER,
    read_metadata,
    shapes_of,
    what_is,
    write_described,
)
from .clip_tokenizer import ClipTokenizer
from .text_encoder import ClipTextModel, TextConfig, TextEncoder


@dataclass(frozen=True)
class TextEncoderFile:
    """A text encoder file's sizes and its tensors, as they are stored."""

    config: TextConfig
    tensors: dict[str, Tensor]


def write_text_encoder(path: str | Path, model: ClipTextModel) -> None:
    """Write a text encoder in float16. Raises CheckpointError when it cannot."""
    described = {
        "kind": KIND_TEXT_ENCODER,
        "format_version": FORMAT_VERSION,
        "text_model": asdict(model.config),
        "parents": {},
    }
    tensors = {name: tensor.half() for name, tensor in model.state_dict().items()}
    write_described(path, tensors, described)


def load_text_encoder(path: str | Path, device: str | torch.device = "cpu") -> TextEncoder:
    """Read a miniature text encoder; CLIP's vocabulary comes from clip-anytorch. Raises CheckpointError."""
    return TextEncoder(read_text_encoder(path).to(device), ClipTokenizer())


def read_text_encoder(path: str | Path) -> ClipTextModel:
    """A text encoder in float32, ready to run. Raises CheckpointError for anything that is not one."""
    found = read_text_encoder_file(path)
    model = ClipTextModel(found.config)
    model.load_state_dict(found.tensors)
    return model.eval()


def read_text_encoder_file(path: str | Path) -> TextEncoderFile:
    """Sizes and tensors of a miniature text encoder, checked against each other.

    Raises CheckpointError for anything that is not one, saying what it is and which node or file to use instead.
    """
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    shapes = shapes_of(tensors)
    if described.get("kind") != KIND_TEXT_ENCODER:
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a miniature CLIP: {_instead(shapes)}."
        )
    config = text_config(path, described)
    with torch.device("meta"):
        wanted = ClipTextModel(config).state_dict()
    if shapes != shapes_of(wanted):
        raise CheckpointError(
            f"{path} holds other tensors than its metadata describes: download or write it again."
        )
    return TextEncoderFile(config, tensors)


def text_config(path: str | Path, described: Mapping[str, Any]) -> TextConfig:
    """The sizes that a text encoder file's metadata gives. Raises CheckpointError when they are damaged."""
    try:
        return TextConfig(**{name: int(size) for name, size in described["text_model"].items()})
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} has damaged DA-VAE metadata: download or write it again."
        ) from error


def _instead(shapes: Mapping[str, object]) -> str:
    if any(name.startswith(("text_model.", "encoder.block.")) for name in shapes):
        return "load it with ComfyUI's CLIPLoader, DualCLIPLoader or TripleCLIPLoader"
    return "pick the bundled miniature, or load an ordinary text encoder with ComfyUI's CLIPLoader or DualCLIPLoader"
