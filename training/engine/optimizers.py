"""Muon for convolution kernels and AdamW for the rest, as one optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..settings.run_config import OptimizerConfig

# Quintic Newton-Schulz coefficients of K. Jordan's Muon: steepest at zero, singular values end near 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


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


class MuonAdamW(torch.optim.Optimizer):
    """One optimizer whose parameter groups name their rule: `muon` (kernels, flattened to matrices) or `adamw`.

    Each group has `rule`, `lr`, `initial_lr`, `weight_decay` and, by rule, `momentum` or `betas`.
    Weight decay is decoupled.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(list(groups), {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [value for value in group["params"] if value.grad is not None]
            if group["rule"] == "muon":
                self._step_muon(group, parameters)
            else:
                self._step_adamw(group, parameters)

    def _step_muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for value in parameters:
            assert value.grad is not None
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

    def _step_adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        first_decay, second_decay = group["betas"]
        for value in parameters:
            assert value.grad is not None
            state = self.state[value]
            if not state:
                state["first"], state["second"] = torch.zeros_like(value), torch.zeros_like(value)
                state["count"] = 0
            state["count"] += 1
            count = state["count"]
            state["first"].lerp_(value.grad, 1.0 - first_decay)
            state["second"].lerp_(value.grad.square(), 1.0 - second_decay)
            scale = (state["second"] / (1.0 - second_decay**count)).sqrt_().add_(1e-8)
            value.mul_(1.0 - group["lr"] * group["weight_decay"])
            value.addcdiv_(state["first"], scale, value=-group["lr"] / (1.0 - first_decay**count))


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of the generator side; frozen parameters are left out.

    With `muon`, convolution kernels (and linear weights) go to Muon at `learning_rate`, everything else to AdamW at
    `learning_rate * adamw_ratio`; with `adamw` and `adamw8bit` everything goes to AdamW at `learning_rate`,
    with the latter as bitsandbytes has it. Biases and norms never decay. Raises TrainingError without bitsandbytes.
    """
    trainable = [value for value in module.parameters() if value.requires_grad]
    kernels = [value for value in trainable if value.ndim >= 2]
    vectors = [value for value in trainable if value.ndim < 2]
    rate, decay = config.learning_rate, config.weight_decay
    if config.kind == "muon":
        groups = [
            _group("muon", kernels, rate, decay, momentum=config.momentum),
            _group("adamw", vectors, rate * config.adamw_ratio, 0.0, betas=config.betas),
        ]
    else:
        groups = [
            _group("adamw", kernels, rate, decay, betas=config.betas),
            _group("adamw", vectors, rate, 0.0, betas=config.betas),
        ]
    filled = [group for group in groups if group["params"]]
    return _adamw_in_8_bits(filled) if config.kind == "adamw8bit" else MuonAdamW(filled)


def _adamw_in_8_bits(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise TrainingError(
            "optimizer.kind is adamw8bit, but the package bitsandbytes is not installed: "
            'pip install "davae[train-8bit]", or set it to adamw.'
        ) from error
    optimizer: torch.optim.Optimizer = AdamW8bit(groups)
    return optimizer


def build_discriminator_optimizer(module: nn.Module, learning_rate: float) -> MuonAdamW:
    """AdamW with the betas usual for patch discriminators (0.5, 0.9)."""
    return MuonAdamW(
        [_group("adamw", list(module.parameters()), learning_rate, 0.0, betas=(0.5, 0.9))]
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's rate to its initial rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def _group(
    rule: str,
    parameters: list[nn.Parameter],
    rate: float,
    decay: float,
    momentum: float = 0.0,
    betas: tuple[float, ...] = (0.0, 0.0),
) -> dict[str, Any]:
    return {
        "rule": rule,
        "params": parameters,
        "lr": rate,
        "initial_lr": rate,
        "weight_decay": decay,
        "momentum": momentum,
        "betas": betas,
    }
