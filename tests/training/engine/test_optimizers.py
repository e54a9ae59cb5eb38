import sys

import pytest
import torch
from torch import nn

from training.engine.optimizers import (
    build_discriminator_optimizer,
    build_optimizer,
    orthogonalise,
    set_learning_rates,
)
from training.errors import TrainingError
from training.settings.run_config import OptimizerConfig


@pytest.mark.parametrize("shape", [(3, 8, 72), (2, 72, 8), (1, 16, 16)])
def test_orthogonalising_moves_singular_values_close_to_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    large = values[:, : values.shape[1] * 3 // 4]
    assert float(large.min()) > 0.6
    assert float(values.max()) < 1.3


def test_orthogonalising_keeps_the_singular_vectors() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(1, 6, 40)
    u, _, vh = torch.linalg.svd(matrix[0], full_matrices=False)
    turned = u.T @ orthogonalise(matrix)[0] @ vh.T
    off_diagonal = turned - torch.diag(turned.diagonal())
    assert float(off_diagonal.abs().max()) < 1e-3


def test_orthogonalising_agrees_with_iterating_on_the_whole_matrix() -> None:
    torch.manual_seed(1)
    matrix = torch.randn(1, 8, 50, dtype=torch.float64)
    iterate = matrix[0] / matrix.norm()
    for _ in range(5):
        gram = iterate @ iterate.T
        iterate = 3.4445 * iterate + (-4.7750 * gram + 2.0315 * gram @ gram) @ iterate
    torch.testing.assert_close(orthogonalise(matrix)[0], iterate)


def test_orthogonalising_a_zero_gradient_gives_zero() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_muon_takes_kernels_and_pytorchs_adamw_the_rest_at_its_own_rate() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))
    optimizer = build_optimizer(module, OptimizerConfig(kind="muon", learning_rate=1e-2))
    kernels, rest = optimizer.param_groups
    assert [value.ndim for value in kernels["params"]] == [4]
    assert [value.ndim for value in rest["params"]] == [1, 1, 1]
    assert rest["lr"] == pytest.approx(3e-3)
    alone = nn.Parameter(module[1].weight.detach().clone())
    reference = torch.optim.AdamW([alone], lr=3e-3, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(3):
        for value in module.parameters():
            value.grad = torch.randn_like(value)
        alone.grad = module[1].weight.grad
        # Rates set from outside reach both rules.
        set_learning_rates(optimizer, 1 - step / 4)
        reference.param_groups[0]["lr"] = 3e-3 * (1 - step / 4)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(module[1].weight, alone)
    states = [set(optimizer.state[value]) for value in (module[0].weight, module[1].weight)]
    assert states == [{"momentum"}, {"step", "exp_avg", "exp_avg_sq"}]


def test_adamw_is_fused_and_within_rounding_of_one_tensor_after_another() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 5))
    config = OptimizerConfig(kind="adamw", learning_rate=1e-2, weight_decay=0.1)
    optimizer = build_optimizer(module, config)
    assert all(group["fused"] for group in optimizer.param_groups)
    copies = [nn.Parameter(value.detach().clone()) for value in module.parameters()]
    groups = [
        {"params": [value for value in copies if value.ndim >= 2], "weight_decay": 0.1},
        {"params": [value for value in copies if value.ndim < 2], "weight_decay": 0.0},
    ]
    plain = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), fused=False, foreach=False)
    for _ in range(5):
        for value, copy in zip(module.parameters(), copies, strict=True):
            value.grad = torch.randn_like(value)
            copy.grad = value.grad.clone()
        optimizer.step()
        plain.step()
    for value, copy in zip(module.parameters(), copies, strict=True):
        torch.testing.assert_close(value.detach(), copy.detach(), rtol=1e-5, atol=1e-7)


def test_a_whole_state_comes_back_through_pytorchs_own_state_dict() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))
    optimizer = build_optimizer(module, OptimizerConfig(kind="muon"))
    for value in module.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    entries = optimizer.state_dict()["state"]
    assert sorted(map(sorted, entries.values())) == [
        *[["exp_avg", "exp_avg_sq", "step"]] * 3,
        ["momentum"],
    ]


def test_frozen_parameters_are_in_no_group() -> None:
    module = nn.Conv2d(3, 8, 3)
    module.bias.requires_grad_(False)
    groups = build_optimizer(module, OptimizerConfig(kind="muon")).param_groups
    assert [len(group["params"]) for group in groups] == [1]


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_both_kinds_fit_a_small_regression(kind: str) -> None:
    torch.manual_seed(0)
    module, goal = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
    optimizer = build_optimizer(module, OptimizerConfig(kind=kind, learning_rate=2e-2))
    inputs = torch.randn(4, 3, 8, 8)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (module(inputs) - goal(inputs).detach()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_weight_decay_shrinks_kernels_and_leaves_biases() -> None:
    module = nn.Conv2d(2, 2, 1)
    nn.init.ones_(module.weight)
    nn.init.ones_(module.bias)
    config = OptimizerConfig(kind="muon", learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(module, config)
    for value in module.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    torch.testing.assert_close(module.weight.detach(), torch.full((2, 2, 1, 1), 0.95))
    torch.testing.assert_close(module.bias.detach(), torch.ones(2))


def test_rates_are_multiples_of_the_initial_ones() -> None:
    optimizer = build_discriminator_optimizer(nn.Linear(2, 2), 1e-3)
    for factor in (0.5, 0.25):
        set_learning_rates(optimizer, factor)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * factor)


def test_8_bit_adamw_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(TrainingError, match=r"adamw8bit, .*pip install \"\.\[train-8bit\]\""):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(kind="adamw8bit"))
