"""Trading time for memory: blocks that are recomputed in the backward pass."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from davae_core.codec.blocks import AttnBlock, ResnetBlock


def checkpoint_blocks(module: nn.Module) -> None:
    """Make every residual and attention block below `module` forget its insides and recompute them for gradients."""
    for part in module.modules():
        if isinstance(part, (ResnetBlock, AttnBlock)):
            # These blocks draw no random numbers, so there is no generator state to keep.
            part.forward = partial(  # type: ignore[method-assign]
                checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False
            )
