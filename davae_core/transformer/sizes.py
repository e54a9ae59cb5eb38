"""The sizes of an SD3 transformer, read off its weights (Stability names)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Annotated

from torch import Tensor

from ..format import numbers_in
from ..reading.typed import Limits, check_limits
from .names import EMBEDDER_WEIGHT, HEAD_WEIGHT, count_blocks

Size = Annotated[int, Limits(1, 2**16)]
HEAD_WIDTH = 64
"""Of every SD3 model; ComfyUI takes it for granted too, and finds the number of blocks as width / 64."""


@dataclass(frozen=True)
class TransformerSizes:
    """What an SD3 transformer is built from.

    `dual_blocks`: the blocks with a second attention over the picture alone. `positions`: side of the table of
    positions. `normed`: queries and keys are RMS-normalised.
    """

    in_channels: Size
    out_channels: Size
    patch: Annotated[int, Limits(1, 64)]
    blocks: Annotated[int, Limits(1, 256)]
    heads: Annotated[int, Limits(1, 1024)]
    dual_blocks: tuple[int, ...]
    context_width: Size
    pooled_width: Size
    positions: Annotated[int, Limits(1, 4096)]
    normed: bool

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.heads * HEAD_WIDTH


def transformer_sizes(tensors: Mapping[str, Tensor]) -> TransformerSizes:
    """The sizes of the transformer that has these weights. Raises ValueError when they are not SD3's."""
    try:
        embedder, head = tensors[EMBEDDER_WEIGHT], tensors[HEAD_WEIGHT]
        width, patch = embedder.shape[0], embedder.shape[-1]
        if width % HEAD_WIDTH:
            raise ValueError(f"a width of {width} is no multiple of {HEAD_WIDTH}")
        dual = numbers_in(tensors, r"joint_blocks\.(\d+)\.x_block\.attn2\.qkv\.weight")
        return TransformerSizes(
            in_channels=embedder.shape[1],
            out_channels=head.shape[0] // patch**2,
            patch=patch,
            blocks=count_blocks(tensors),
            heads=width // HEAD_WIDTH,
            dual_blocks=tuple(sorted(dual)),
            context_width=tensors["context_embedder.weight"].shape[1],
            pooled_width=tensors["y_embedder.mlp.0.weight"].shape[1],
            positions=isqrt(tensors["pos_embed"].shape[1]),
            normed="joint_blocks.0.x_block.attn.ln_q.weight" in tensors,
        )
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error
    except (ArithmeticError, IndexError) as error:
        raise ValueError("a layer has another rank than SD3's") from error
