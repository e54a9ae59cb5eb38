"""A LightningDiT for a detail-aligned latent: the pretrained one with zeros for the detail's channels.

The zeros are those of paper Eq. 12. With patches of one cell the new rows of the head lie behind the old ones; with
larger ones behind those of their patch position, as `join_head_rows` lays them.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..latents import LatentLayout
from ..transformer.warm_start import widen_conv_weight, widen_head_rows
from .sizes import EMBEDDER_WEIGHT, HEAD_BIAS, HEAD_WEIGHT, LightningSizes


def widen_lightning(tensors: Mapping[str, Tensor], layout: LatentLayout) -> dict[str, Tensor]:
    """The weights for `layout`, base channels first, the new ones zero; what is not at an edge is handed through.

    What comes out for the base channels is what came out before, up to the order of a processor's sums, and nothing for
    the others. Raises ValueError when these weights are not for the layout's base alone.
    """
    base, detail = layout.base_channels, layout.detail_channels
    return {
        **tensors,
        EMBEDDER_WEIGHT: widen_conv_weight(tensors[EMBEDDER_WEIGHT], base, detail),
        HEAD_WEIGHT: widen_head_rows(tensors[HEAD_WEIGHT], base, detail),
        HEAD_BIAS: widen_head_rows(tensors[HEAD_BIAS], base, detail),
    }


def add_norms(
    tensors: Mapping[str, Tensor], sizes: LightningSizes
) -> tuple[dict[str, Tensor], LightningSizes]:
    """The weights and sizes of the same model with norms of queries and keys that it did not have, all ones.

    As the published DA-VAE code starts where its file has none. It is another function then: no longer an exact start.
    """
    ones = torch.ones(sizes.head_width)
    norms = {
        f"blocks.{block}.attn.{name}.weight": ones.clone()
        for block in range(sizes.blocks)
        for name in ("q_norm", "k_norm")
    }
    return {**norms, **tensors}, replace(sizes, normed=True)
