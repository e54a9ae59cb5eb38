"""Optimizer steps, left out when their gradients are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ..errors import TrainingError
from ..settings.run_config import OptimizerConfig
from .checkpointing import MODEL, Trained
from .learning_rate import cosine_factor
from .optimizers import set_learning_rates
from .sharding import whole

Batch = TypeVar("Batch")
Parts = dict[str, Tensor]
"""Terms of a loss by name, each unweighted."""
_MOST_BAD_STEPS = 10


class Updates:
    """The trained parts of a run, advanced by one optimizer step at a time; counts bad steps in a row.

    `models` are the parts as the backward passes shall call them, wrapped for the processes of the run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: OptimizerConfig,
        steps: int,
        parts: Mapping[str, Trained],
    ) -> None:
        self._accelerator, self._config, self._steps = accelerator, config, steps
        self.models: dict[str, nn.Module] = {}
        self._optimizers: list[AcceleratedOptimizer] = []
        for name, part in parts.items():
            self.models[name] = _prepared(accelerator, part.module)
            # Without placement: accelerate would move and cast states, which are what and where they should be.
            self._optimizers.append(
                accelerator.prepare_optimizer(part.optimizer, device_placement=False)
            )
        self._bad_steps = 0

    @property
    def learning_rate(self) -> float:
        """The rate of the first part's first group of parameters in the last step."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def step(
        self, step: int, batches: Sequence[Batch], backward: Callable[[int, Batch, bool], Parts]
    ) -> Parts | None:
        """Step `step` (0-based) on one micro-batch per element: the loss terms, averaged, and the gradients' norms.

        `backward(step, batch, last)` adds a micro-batch's gradients and gives its terms, detached. None when a gradient
        was not finite and nothing changed. Raises TrainingError after ten such steps in a row.
        """
        config = self._config
        factor = cosine_factor(step, self._steps, config.warmup_steps, config.final_ratio)
        for optimizer in self._optimizers:
            set_learning_rates(optimizer, factor)
        collected = [backward(step, batch, batch is batches[-1]) for batch in batches]
        parts = {
            name: torch.stack([part[name] for part in collected]).mean() for name in collected[0]
        }
        norms = self._clipped_norms()
        return {**parts, **norms} if self._apply(step, list(norms.values())) else None

    def _clipped_norms(self) -> Parts:
        """The norms before clipping, of the model and of the other parts that have gradients."""
        norms = {}
        for name, model in self.models.items():
            if name != MODEL and all(value.grad is None for value in model.parameters()):
                continue
            most = self._config.clip_norm or float("inf")
            norm = self._accelerator.clip_grad_norm_(model.parameters(), most)
            key = "gradient_norm" if name == MODEL else f"{name}_gradient_norm"
            norms[key] = whole(norm.detach()) if isinstance(norm, Tensor) else torch.tensor(norm)
        return norms

    def _apply(self, step: int, norms: Sequence[Tensor]) -> bool:
        finite = bool(torch.isfinite(torch.stack(list(norms))).all())
        # Under fp16 the loss scaler must see overflows, and leaves such steps out by itself.
        scaled = self._accelerator.scaler is not None
        for optimizer in self._optimizers:
            if finite or scaled:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == _MOST_BAD_STEPS:
            raise TrainingError(
                f"The gradients were not finite {_MOST_BAD_STEPS} steps in a row (last in step {step}): lower "
                "optimizer.learning_rate or choose another train.precision, and start from an earlier checkpoint."
            )
        return finite


def _prepared(accelerator: Accelerator, module: nn.Module) -> nn.Module:
    """A module wrapped for the processes of the run; a sharded one needs no wrapper."""
    if isinstance(module, FSDPModule):
        return module
    model: nn.Module = accelerator.prepare_model(module)
    return model


@contextmanager
def synchronised(accelerator: Accelerator, model: nn.Module, last: bool) -> Iterator[None]:
    """Processes exchange the gradients of the backward pass in here if it is the step's `last`."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        yield
        return
    with nullcontext() if last else accelerator.no_sync(model):
        yield
