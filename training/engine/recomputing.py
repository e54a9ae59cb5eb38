"""Trading time for memory: modules that forget their insides and compute them again in the backward pass."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module) -> None:
    """Let a module keep only its input for the backward pass, in place; its gradients stay what they are.

    It must draw no random numbers, for no generator's state is kept.
    """
    module.forward = partial(
        checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False
    )
