"""The sizes of a LightningDiT, read off its weights (published names), and those of the published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Annotated

from ..format import numbers_in
from ..reading.typed import Limits, check_limits

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDER_WEIGHT, EMBEDDER_BIAS = "x_embedder.proj.weight", "x_embedder.proj.bias"
HEAD_WEIGHT, HEAD_BIAS = "final_layer.linear.weight", "final_layer.linear.bias"
POSITIONS = "pos_embed"
LABELS = "y_embedder.embedding_table.weight"
Size = Annotated[int, Limits(1, 2**16)]


@dataclass(frozen=True)
class LightningSizes:
    """What a LightningDiT is built from.

    `channels` of the latent it reads and predicts; `side`: tokens along one side of its square grid; `classes` without
    the one that stands for none; `normed`: queries and keys are RMS-normalised. Raises ValueError for what cannot be.
    """

    channels: Size
    patch: Annotated[int, Limits(1, 64)]
    blocks: Annotated[int, Limits(1, 256)]
    width: Size
    heads: Annotated[int, Limits(1, 1024)]
    side: Annotated[int, Limits(1, 1024)]
    classes: Annotated[int, Limits(1, 10**6)]
    normed: bool

    def __post_init__(self) -> None:
        check_limits(self)
        if self.width % (4 * self.heads):
            raise ValueError(
                f"a width of {self.width} is no multiple of four times {self.heads} heads"
            )

    @property
    def head_width(self) -> int:
        """Channels of a head, a multiple of four: pairs turn by their row, the other half of them by their column."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """Channels within a block's gated feed-forward part: two thirds of four times the width, rounded down."""
        return int(2 / 3 * (4 * self.width))


PUBLISHED: dict[str, tuple[int, int, int]] = {
    "B": (12, 768, 12),
    "L": (24, 1024, 16),
    "XL": (28, 1152, 16),
    "1p0B": (24, 1536, 24),
    "1p6B": (28, 1792, 28),
}
"""Blocks, width and heads of the published models by the name before their patch, as in XL/1."""
IMAGENET_CLASSES = 1000


def published_sizes(
    name: str, channels: int, side: int, patch: int = 1, normed: bool = False
) -> LightningSizes:
    """The sizes of a published model, such as XL, for ImageNet. Raises KeyError for another name."""
    blocks, width, heads = PUBLISHED[name]
    return LightningSizes(channels, patch, blocks, width, heads, side, IMAGENET_CLASSES, normed)


def lightning_sizes(tensors: Mapping[str, Tensor], heads: int | None = None) -> LightningSizes:
    """The sizes of the LightningDiT that has these weights.

    `heads`: what a file says of them; None where it says nothing: then they are those of the published model of this
    width, as only norms of queries and keys show them in the weights. Raises ValueError when they are none.
    """
    try:
        embedder, labels = tensors[EMBEDDER_WEIGHT], tensors[LABELS]
        width, channels, patch = embedder.shape[0], embedder.shape[1], embedder.shape[-1]
        norm = tensors.get("blocks.0.attn.q_norm.weight")
        if tensors[HEAD_WEIGHT].shape[0] != channels * patch**2:
            raise ValueError("its output has other channels than its input")
        return LightningSizes(
            channels=channels,
            patch=patch,
            blocks=len(numbers_in(tensors, r"blocks\.(\d+)\.attn\.qkv\.weight")),
            width=width,
            heads=heads or _heads(width, norm),
            side=isqrt(tensors[POSITIONS].shape[1]),
            classes=labels.shape[0] - 1,
            normed=norm is not None,
        )
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error
    except (ArithmeticError, IndexError) as error:
        raise ValueError("a layer has another rank than LightningDiT's") from error


def _heads(width: int, norm: Tensor | None) -> int:
    if norm is not None:
        return width // norm.shape[0]
    known = {published: heads for _, published, heads in PUBLISHED.values()}
    if width not in known:
        raise ValueError(f"its width of {width} is no published one, so nothing tells its heads")
    return known[width]
