"""The sizes of the miniature's text encoder, and where its file says them. Plain data, without PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ..format import damaged
from ..reading.typed import Limits, build, check_limits

CONTEXT_WIDTH = 4096
"""Width of Stable Diffusion 3's context: the T5 encoder's; CLIP's states are filled up to it with zeros."""
CLIP_G_WIDTH = 1280
"""Width of the second CLIP's pooled vector, all zeros where only the first one is there."""


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a CLIP text transformer; its names are those ComfyUI's and transformers' configurations use."""

    hidden_size: Annotated[int, Limits(1, 8192)]
    num_hidden_layers: Annotated[int, Limits(1, 64)]
    num_attention_heads: Annotated[int, Limits(1, 1024)]
    intermediate_size: Annotated[int, Limits(1, 65536)]

    def __post_init__(self) -> None:
        check_limits(self)
        if self.num_hidden_layers < 2:
            raise ValueError("A text encoder needs 2 layers, because the last but one is read.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"A width of {self.hidden_size} cannot be shared by {self.num_attention_heads} heads."
            )


def text_config(path: str | Path, described: Mapping[str, Any]) -> TextConfig:
    """The sizes that a text encoder file's metadata gives. Raises CheckpointError when they are damaged."""
    try:
        return build(TextConfig, described.get("text_model"))
    except ValueError as error:
        raise damaged(path, error) from error
