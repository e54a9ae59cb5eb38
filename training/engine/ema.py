"""Exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .sharding import local


class WeightAverage:
    """A float32 running mean of a module's trainable parameters: mean = decay * mean + (1 - decay) * weight.

    The decay starts low, min(decay, (1 + n) / (10 + n)) after n updates, so that the initial weights
    are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.means = {name: value.detach().float().clone() for name, value in _trainable(module)}

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's current weights into the mean."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        # All at once: one tensor after another, a GPU would mostly wait for the next.
        weights = {name: local(value.detach()).float() for name, value in _trainable(self.module)}
        means = [local(self.means[name]) for name in weights]
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(means, list(weights.values()), self.updates)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged weights in place; the trained ones return at the end."""
        trained = {name: value.detach().clone() for name, value in _trainable(self.module)}
        self._copy_in(self.means)
        try:
            yield
        finally:
            self._copy_in(trained)

    @torch.no_grad()
    def _copy_in(self, weights: dict[str, Tensor]) -> None:
        for name, value in _trainable(self.module):
            value.copy_(weights[name])


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)
