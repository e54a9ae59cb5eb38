"""Text encoder files: stock CLIP-L names in half precision, the sizes in the metadata (docs/method.md, "Files")."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors
from ..format import (
    KIND_TEXT_ENCODER,
    check_weights,
    read_metadata,
    shapes_of,
    what_is,
    write_described,
)
from .clip_tokenizer import POSITIONS, VOCABULARY, ClipTokenizer
from .text_config import TextConfig, text_config
from .text_encoder import TextEncoder, clip_text_model


def write_text_encoder(path: str | Path, model: Any) -> None:
    """Write what `clip_text_model` gives in float16. Raises CheckpointError when it cannot."""
    described = {
        "text_model": {size.name: getattr(model.config, size.name) for size in fields(TextConfig)},
        "parents": {},
    }
    tensors = {name: tensor.half() for name, tensor in model.state_dict().items()}
    write_described(path, tensors, KIND_TEXT_ENCODER, described)


def load_text_encoder(path: str | Path, device: str | torch.device = "cpu") -> TextEncoder:
    """Read a miniature text encoder; CLIP's vocabulary comes from clip-anytorch.

    Raises CheckpointError, and ImportError without transformers.
    """
    return TextEncoder(read_text_encoder(path).to(device), ClipTokenizer())


def read_text_encoder(path: str | Path) -> Any:
    """A text encoder in float32, as `clip_text_model` gives it, ready to run.

    Raises CheckpointError for anything that is not one, ImportError without transformers.
    """
    config, tensors = read_text_encoder_file(path)
    model = clip_text_model(config)
    model.load_state_dict(tensors)
    return model.eval()


def read_text_encoder_file(path: str | Path) -> tuple[TextConfig, dict[str, Tensor]]:
    """Sizes and tensors of a miniature text encoder, as they are stored, checked against each other.

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
    if shapes != stored_shapes(config):
        raise CheckpointError(
            f"{path} holds other tensors than its metadata describes: download or write it again."
        )
    check_weights(path, tensors)
    return config, tensors


def stored_shapes(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a file of these sizes. Listed, because ComfyUI reads a file without transformers' model."""
    width, inner = config.hidden_size, config.intermediate_size
    layer = {
        **{f"self_attn.{name}_proj": (width, width) for name in "qkv"},
        "self_attn.out_proj": (width, width),
        "layer_norm1": (width,),
        "layer_norm2": (width,),
        "mlp.fc1": (inner, width),
        "mlp.fc2": (width, inner),
    }
    with_bias = {
        f"text_model.encoder.layers.{number}.{name}": shape
        for number in range(config.num_hidden_layers)
        for name, shape in layer.items()
    } | {"text_model.final_layer_norm": (width,)}
    return {
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, width),
        "text_model.embeddings.position_embedding.weight": (POSITIONS, width),
        "text_projection.weight": (width, width),
        **{f"{name}.weight": shape for name, shape in with_bias.items()},
        **{f"{name}.bias": shape[:1] for name, shape in with_bias.items()},
    }


def _instead(shapes: Mapping[str, object]) -> str:
    if any(name.startswith(("text_model.", "encoder.block.")) for name in shapes):
        return "load it with ComfyUI's CLIPLoader, DualCLIPLoader or TripleCLIPLoader"
    return "pick the bundled miniature, or load an ordinary text encoder with ComfyUI's CLIPLoader or DualCLIPLoader"
