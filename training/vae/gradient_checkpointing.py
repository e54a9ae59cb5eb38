"""Which blocks of a codec are recomputed in the backward pass."""

from torch import nn

from davae_core.codec.blocks import AttnBlock, ResnetBlock

from ..engine.recomputing import recompute


def checkpoint_blocks(module: nn.Module) -> None:
    """Let every residual and attention block below `module` be recomputed for gradients."""
    for part in module.modules():
        if isinstance(part, (ResnetBlock, AttnBlock)):
            recompute(part)
