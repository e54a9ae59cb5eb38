"""Stage 2 on a GPU: every precision, the CPU's losses, and a run that goes on after a stop."""

import math

import pytest
import torch

from training.dit.train import train_dit
from training.engine.optimizers import build_optimizer
from training.engine.tracking import read_log
from training.settings.run_config import OptimizerConfig

ON_GPU = {"train__device": "auto"}


def losses(config):
    result = train_dit(config)
    return [record["loss"] for record in read_log(result.parent, "train")], result.parent


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_to_the_end_and_tells_its_memory(dit_config, precision):
    found, folder = losses(dit_config(**ON_GPU, train__precision=precision))
    assert len(found) == 4
    assert all(map(math.isfinite, found))
    assert all(record["peak_gpu_gib"] > 0 for record in read_log(folder, "train"))


def test_a_gpu_sees_the_noise_and_the_losses_that_a_cpu_sees(dit_config):
    # Only the first: what the steps change differs by a GPU's rounding.
    on_gpu, on_cpu = (
        losses(dit_config(str(i), **where))[0] for i, where in enumerate((ON_GPU, {}))
    )
    assert on_gpu[0] == pytest.approx(on_cpu[0], rel=1e-2)


def test_a_stopped_run_in_float16_goes_on_with_its_scale(dit_config):
    changes = {**ON_GPU, "train__precision": "fp16"}
    whole, _ = losses(dit_config("whole", **changes))
    broken = dit_config("broken", **changes)
    assert train_dit(broken, stop_at=2) is None
    gone_on, _ = losses(broken)
    assert gone_on == pytest.approx(whole, rel=1e-2)


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
