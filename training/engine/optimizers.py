"""AdamW is PyTorch's or bitsandbytes'; Muon for convolution kernels is here."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..settings.run_config import OptimizerConfig

# Quintic Newton-Schulz coefficients of K. Jordan's Muon: steepest at zero, singular values end near 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
_FUSED = {"cpu", "cuda"}
"""Where PyTorch's fused AdamW is used: on what a training runs on here."""


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with their singular values moved close to 1 (a Newton-Schulz iteration).

    Each iterate is a polynomial of the Gram matrix times the input, so the iteration runs on the small Gram matrix and
    touches the wide one only at both ends.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalise(matrices.mT).mT
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    gram = matrices @ matrices.mT
    identity = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype).expand_as(gram)
    product = identity
    for _ in range(_NEWTON_SCHULZ_STEPS):
        step = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        product = step @ product
        gram = step @ gram @ step
    return product @ matrices


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates for kernels, flattened to matrices; weight decay is decoupled.

    `beside` holds the parameters that are no matrices. It steps along and lends its groups and states, so that whoever
    sets rates, scales losses or writes checkpoints sees one optimizer.
    """

    def __init__(
        self, kernels: dict[str, Any], momentum: float, beside: torch.optim.AdamW | None
    ) -> None:
        super().__init__([kernels], {"momentum": momentum})
        self._beside = beside
        if beside is not None:
            self.param_groups += beside.param_groups
            beside.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        group = self.param_groups[0]
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for value in group["params"]:
            if value.grad is None:
                continue
            state = self.state[value]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(value)
            momentum: Tensor = state["momentum"]
            momentum.lerp_(value.grad, 1.0 - group["momentum"])
            looked_ahead = value.grad.lerp(momentum, group["momentum"]).flatten(1)
            shape = (looked_ahead.shape[0], looked_ahead.shape[1])
            by_shape.setdefault(shape, []).append((value, looked_ahead))
        for (rows, columns), pairs in by_shape.items():
            updates = orthogonalise(torch.stack([update for _, update in pairs]))
            rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for (value, _), update in zip(pairs, updates, strict=True):
                value.mul_(1.0 - group["lr"] * group["weight_decay"])
                value.sub_(update.view_as(value), alpha=rate)
        if self._beside is not None:
            self._beside.step()


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of a module, which must be on its device; frozen parameters are left out.

    With `muon`, convolution kernels (and linear weights) go to Muon at `learning_rate`, everything else to AdamW at
    `learning_rate * adamw_ratio`; with `adamw` and `adamw8bit` everything goes to AdamW at `learning_rate`,
    with the latter as bitsandbytes has it. Biases and norms never decay. Raises TrainingError without bitsandbytes.
    """
    trainable = [value for value in module.parameters() if value.requires_grad]
    kernels = [value for value in trainable if value.ndim >= 2]
    vectors = [value for value in trainable if value.ndim < 2]
    rate, decay = config.learning_rate, config.weight_decay
    if config.kind == "muon":
        slower = [group_of(vectors, rate * config.adamw_ratio, 0.0)]
        beside = adamw(slower, config.betas) if vectors else None
        return Muon(group_of(kernels, rate, decay), config.momentum, beside)
    groups = [group_of(kernels, rate, decay), group_of(vectors, rate, 0.0)]
    filled = [group for group in groups if group["params"]]
    build = _adamw_in_8_bits if config.kind == "adamw8bit" else adamw
    return build(filled, config.betas)


def group_of(parameters: list[nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    """A group of parameters; `set_learning_rates` takes its rate for the initial one."""
    return {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}


def adamw(groups: list[dict[str, Any]], betas: tuple[float, ...]) -> torch.optim.AdamW:
    """PyTorch's AdamW, one pass over a parameter and its states where it has that, over groups made by `group_of`."""
    kinds = {value.device.type for group in groups for value in group["params"]}
    return torch.optim.AdamW(groups, betas=(betas[0], betas[1]), fused=kinds <= _FUSED or None)


def _adamw_in_8_bits(
    groups: list[dict[str, Any]], betas: tuple[float, ...]
) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise TrainingError(
            "optimizer.kind is adamw8bit, but the package bitsandbytes is not installed: "
            'pip install ".[train-8bit]", or set it to adamw.'
        ) from error
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, betas=betas)
    return optimizer


def build_discriminator_optimizer(module: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW with the betas usual for patch discriminators (0.5, 0.9)."""
    return adamw([group_of(list(module.parameters()), learning_rate, 0.0)], (0.5, 0.9))


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's rate to its initial rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
