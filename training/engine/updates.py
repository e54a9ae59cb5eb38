"""Optimizer steps that are left out when their gradients are not finite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ..errors import TrainingError
from .checkpointing import Trained
from .sharding import whole
from .zero import ZeroModel, ZeroTrained

_MOST_BAD_STEPS = 10


class Updates:
    """Clips and steps; counts bad steps in a row."""

    def __init__(self, accelerator: Accelerator, clip_norm: float) -> None:
        self._accelerator, self._most = accelerator, clip_norm or float("inf")
        self._bad_steps = 0

    def clipped_norm(self, module: nn.Module) -> Tensor:
        """The norm of the module's gradients before they are clipped."""
        if isinstance(module, ZeroModel):
            # It clips and updates in one; `apply` then finds nothing left to do but to count.
            return module.step()
        norm = self._accelerator.clip_grad_norm_(module.parameters(), self._most)
        return whole(norm.detach()) if isinstance(norm, Tensor) else torch.tensor(norm)

    def apply(
        self,
        step: int,
        norms: Sequence[Tensor],
        optimizers: Sequence[AcceleratedOptimizer],
    ) -> bool:
        """Step the optimizers and drop the gradients; False when a norm was not finite and nothing changed.

        Raises TrainingError after ten such steps in a row.
        """
        finite = bool(torch.isfinite(torch.stack(list(norms))).all())
        # Under fp16 the loss scaler must see overflows, and leaves such steps out by itself.
        scaled = self._accelerator.scaler is not None
        for optimizer in optimizers:
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


def prepare(accelerator: Accelerator, part: Trained) -> tuple[nn.Module, AcceleratedOptimizer]:
    """A trained part wrapped for the processes of the run; a sharded one needs no wrapper."""
    if isinstance(part, ZeroTrained):
        return part.model, part.accelerated_optimizer()
    sharded = isinstance(part.module, FSDPModule)
    model = part.module if sharded else accelerator.prepare_model(part.module)
    # Without placement: accelerate would move and cast states, which are what and where they should be.
    return model, accelerator.prepare_optimizer(part.optimizer, device_placement=False)


@contextmanager
def synchronised(accelerator: Accelerator, model: nn.Module, last: bool) -> Iterator[None]:
    """Processes exchange the gradients of the backward pass in here if it is the step's `last`."""
    if isinstance(model, ZeroModel):
        yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        yield
        return
    with nullcontext() if last else accelerator.no_sync(model):
        yield


def computing(accelerator: Accelerator, model: nn.Module) -> AbstractContextManager[None]:
    """Where the model computes in the training's precision."""
    # The engine has that inside, and would end this one.
    return nullcontext() if isinstance(model, ZeroModel) else accelerator.autocast()


def backward(accelerator: Accelerator, model: nn.Module, loss: Tensor, last: bool) -> None:
    """Add a loss's gradients to those of the step, of which this is the `last` or not."""
    if isinstance(model, ZeroModel):
        model.backward(loss, last)
    else:
        accelerator.backward(loss)
