"""Operations and bytes alive at once, counted on tensors without data: the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..live_bytes import LiveBytes
from ..operations import Operations


@dataclass(frozen=True)
class Count:
    """Floating-point operations, and the most bytes that were alive at once beside weights and inputs."""

    operations: int
    peak: int


def counted(run: Callable[[], object]) -> Count:
    """What `run` takes on the device meta without gradients."""
    with (
        torch.no_grad(),
        _attention_without_pairs(),
        LiveBytes() as live,
        Operations() as operations,
    ):
        run()
    return Count(operations.total, live.peak)


@contextmanager
def _attention_without_pairs() -> Iterator[None]:
    """On meta PyTorch would hold all pairs of positions, which it does on no device that runs this."""
    plain = F.scaled_dot_product_attention

    def flash(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
    ) -> Tensor:
        if attn_mask is not None or dropout_p or is_causal:
            raise ValueError("Only attention of all to all, without mask and dropout, is counted.")
        made: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]
        return made

    F.scaled_dot_product_attention = flash
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain
