"""Stage 2 on two processes that share gradients and optimizer states by DeepSpeed (ZeRO)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin
from torch import nn

from davae_core.files import read_safetensors
from tests.training.test_dit_processes import ROOT, SLOW, assert_same_adapter, validation
from tests.training.two_processes import on_two_processes, train
from training.checkpointing import CheckpointFolder
from training.dit import DitTraining, train_dit
from training.dit_config import read_dit_config
from training.errors import TrainingError
from training.optimizers import MuonAdamW
from training.vae import VaeTraining
from training.zero import REQUEST, partition, zero_settings, zero_wanted

STAGE = "ACCELERATE_DEEPSPEED_ZERO_STAGE"


def with_zero(work: Callable[..., None], *arguments: Any, stage: int = 2) -> None:
    settings = {REQUEST: "true", STAGE: str(stage), "DS_ACCELERATOR": "cpu"}
    on_two_processes(_uncompiled, work, arguments, **settings)


def _uncompiled(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # On a CPU DeepSpeed would first compile an exchange of its own; gloo's does as well.
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    work(*arguments)


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    newest = CheckpointFolder(run / "checkpoints", 1).latest()
    assert newest is not None
    return {
        f"{name}/{key}": tensor
        for name in ("model", "model_optimizer", "average")
        for key, tensor in read_safetensors(newest / f"{name}.safetensors")[0].items()
    }


def test_zero_makes_the_adapter_of_one_process_and_takes_turns_with_whole_states(
    write_dit_config, tmp_path
):
    train_dit(read_dit_config(write_dit_config("one", train__batch_size=4, **SLOW)))
    two = write_dit_config("two", train__batch_size=2, **SLOW)
    with_zero(train, two, 2)
    on_two_processes(train, two, 3)
    with_zero(train, two)
    assert_same_adapter(tmp_path / "two", tmp_path / "one", 1e-5)
    assert validation(tmp_path / "two") == pytest.approx(validation(tmp_path / "one"), abs=1e-5)


def test_a_run_with_zero_is_resumed_bit_for_bit(write_dit_config, tmp_path):
    whole, stopped = (write_dit_config(name, train__steps=3) for name in ("whole", "stopped"))
    with_zero(train, whole)
    with_zero(train, stopped, 2)
    with_zero(train, stopped)
    ours, theirs = checkpoint(tmp_path / "stopped"), checkpoint(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=0, rtol=0, msg=name)


def test_zero_changes_nothing_in_bf16_with_checkpointing_accumulation_clipping_and_decay(
    write_dit_config, tmp_path
):
    changes = {
        **SLOW,
        "train__precision": "bf16",
        "train__accumulate": 2,
        "train__gradient_checkpointing": True,
        "train__steps": 2,
        "optimizer__clip_norm": 0.1,
        "optimizer__weight_decay": 0.1,
    }
    whole, spread = (write_dit_config(name, **changes) for name in ("whole", "spread"))
    on_two_processes(train, whole)
    with_zero(train, spread, stage=1)
    assert_same_adapter(tmp_path / "spread", tmp_path / "whole", 1e-6)
    assert validation(tmp_path / "spread") == pytest.approx(validation(tmp_path / "whole"))


def expect_a_skipped_step() -> None:
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    group = {
        "rule": "adamw",
        "lr": 0.1,
        "initial_lr": 0.1,
        "weight_decay": 0.0,
        "betas": (0.9, 0.99),
    }
    optimizer = MuonAdamW([{**group, "params": [value]} for value in module.parameters()])
    part = partition(module, optimizer, batch_size=1, accumulate=1, clip_norm=1.0)
    before = {name: value.clone() for name, value in part.weights().items()}

    inputs = torch.full((1, 3), float(accelerator.process_index + 1))
    part.model.backward(part.model(inputs).sum() * torch.inf, last=True)
    assert not torch.isfinite(part.model.step())
    assert all(value.equal(before[name]) for name, value in part.weights().items())
    assert not part.whole_optimizer_tensors(True)

    part.model.backward(part.model(inputs).sum(), last=True)
    # The inputs' mean over the processes is 1.5, in 3 columns of 2 rows, beside 2 biases.
    torch.testing.assert_close(part.model.step(), torch.tensor((6 * 1.5**2 + 2) ** 0.5))
    assert not any(value.equal(before[name]) for name, value in part.weights().items())
    found = part.whole_optimizer_tensors(True)
    assert sorted(found) == [
        f"{n}/{k}" for n in ("bias", "weight") for k in ("count", "first", "second")
    ]
    assert found["weight/count"] == 1 and found["weight/first"].shape == (2, 3)
    assert not part.whole_optimizer_tensors(False)


def test_a_step_whose_gradients_are_not_finite_changes_nothing_in_any_process():
    with_zero(expect_a_skipped_step)


def test_the_committed_launch_file_asks_for_stage_2_and_for_nothing_refused(tmp_path):
    script = tmp_path / "show.py"
    script.write_text(
        "import json, os, sys\n"
        "from accelerate.utils import DeepSpeedPlugin\n"
        "from training.zero import REQUEST, zero_settings\n"
        "shown = [os.environ[REQUEST], zero_settings(DeepSpeedPlugin())['zero_optimization']['stage']]\n"
        "open(sys.argv[1], 'w').write(json.dumps(shown))\n"
    )
    file = ROOT / "training" / "configs" / "accelerate" / "deepspeed.yaml"
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(file), "--num_processes=1"]
    shown = tmp_path / "shown.json"
    subprocess.run(
        [sys.executable, *launch, str(script), str(shown)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert json.loads(shown.read_text()) == ["true", 2]


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (STAGE, "3", "asks for ZeRO stage 3"),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "cpu", "sets offload_optimizer_device"),
    ],
)
def test_other_ways_of_spreading_are_refused(monkeypatch, variable, value, sentence):
    monkeypatch.setenv(variable, value)
    with pytest.raises(TrainingError, match=sentence):
        zero_settings(DeepSpeedPlugin())


@pytest.mark.parametrize("section", ["optimizer", "scheduler", "fp16", "bf16"])
def test_what_the_trainings_own_file_decides_is_refused_in_deepspeeds(section):
    plugin = DeepSpeedPlugin({"zero_optimization": {"stage": 2}, section: {"enabled": True}})
    with pytest.raises(TrainingError, match=f"a section {section}, which the training's own file"):
        zero_settings(plugin)


def test_one_process_is_refused(monkeypatch):
    monkeypatch.setenv(REQUEST, "true")
    with pytest.raises(TrainingError, match="needs two processes or more"):
        zero_wanted(Accelerator(cpu=True))


def expect_refusals(muon: Path, codec: Any) -> None:
    with pytest.raises(TrainingError, match=r"optimizer\.kind is muon"):
        DitTraining(read_dit_config(muon))
    with pytest.raises(TrainingError, match="stage 1 keeps its weights whole"):
        VaeTraining(codec)


def test_muon_and_stage_1_are_refused(write_dit_config, make_config):
    with_zero(expect_refusals, write_dit_config("muon", optimizer__kind="muon"), make_config())
