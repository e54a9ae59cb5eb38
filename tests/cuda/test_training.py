"""Both stages on a GPU: every precision, the CPU's losses, and runs that go on after a stop."""

import math

import pytest
import torch

from training.dit.train import train_dit
from training.engine.optimizers import build_optimizer
from training.engine.tracking import read_log
from training.settings.run_config import OptimizerConfig
from training.vae.train import train_vae

pytestmark = pytest.mark.slow
ON_GPU = {"train__device": "auto"}
EVERY_PRECISION = [
    (train_vae, "make_config", "fp32"),
    (train_vae, "make_config", "bf16"),
    (train_vae, "make_config", "fp16"),
    (train_dit, "dit_config", "fp32"),
    (train_dit, "dit_config", "bf16"),
]


def logged(train, config):
    """The lines of the log that tell a loss: a step that float16 left out has none."""
    return [record for record in read_log(train(config).parent, "train") if "loss" in record]


def losses(train, config):
    return [record["loss"] for record in logged(train, config)]


@pytest.mark.parametrize(("train", "fixture", "precision"), EVERY_PRECISION)
def test_every_precision_trains_to_the_end_and_tells_its_memory(request, train, fixture, precision):
    make = request.getfixturevalue(fixture)
    records = logged(train, make("run", **ON_GPU, train__precision=precision))
    assert records
    assert all(math.isfinite(record["loss"]) for record in records)
    assert all(record["peak_gpu_gib"] > 0 for record in records)


def test_a_gpu_sees_the_noise_and_the_loss_that_a_cpu_sees(dit_config):
    # Only the first: what the steps change differs by a GPU's rounding.
    on_gpu, on_cpu = (
        losses(train_dit, dit_config(name, **where))[0]
        for name, where in (("gpu", ON_GPU), ("cpu", {}))
    )
    assert on_gpu == pytest.approx(on_cpu, rel=1e-2)


@pytest.mark.parametrize(("train", "fixture", "precision"), EVERY_PRECISION)
def test_a_stopped_run_goes_on_as_if_it_were_not(request, train, fixture, precision):
    changes = {**ON_GPU, "train__precision": precision}
    make = request.getfixturevalue(fixture)
    whole = losses(train, make("whole", **changes))
    broken = make("broken", **changes)
    assert train(broken, stop_at=2) is None
    assert losses(train, broken) == pytest.approx(whole, rel=2e-2)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_optimizer_steps_on_a_gpu_as_on_a_cpu(gpu, kind):
    moved = []
    for device in (torch.device("cpu"), gpu):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 2, 3)).to(device)
        optimizer = build_optimizer(model, OptimizerConfig(kind=kind, learning_rate=1e-2))
        for _ in range(3):
            model(torch.ones(1, 4, 8, 8, device=device)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        moved.append([value.detach().cpu() for value in model.parameters()])
    for on_cpu, on_gpu in zip(*moved, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=1e-2)
