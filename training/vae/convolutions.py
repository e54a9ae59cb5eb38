"""Convolutions of a codec, whose layers are typed as any module because they come from injected `ops`."""

from __future__ import annotations

from torch import Tensor, nn


def conv_of(module: object) -> nn.Conv2d:
    """The module as the convolution it is."""
    assert isinstance(module, nn.Conv2d)
    return module


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Its bias [outputs]; the codec's convolutions have one."""
    assert conv.bias is not None
    return conv.bias
