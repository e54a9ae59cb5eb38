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
from torch import nn

from davae_core.files import read_safetensors
from tests.training.dit.test_processes import ROOT, SLOW, assert_same_adapter, validation
from tests.training.two_processes import on_two_processes, train
from training.dit.config import read_dit_config
from training.dit.train import DitTraining, train_dit
from training.engine import zero
from training.engine.checkpointing import CheckpointFolder
from training.engine.optimizers import MuonAdamW
from training.engine.running import make_accelerator
from training.engine.tracking import read_log
from training.engine.zero import REQUEST, partition, zero_settings, zero_wanted
from training.errors import TrainingError
from training.vae.train import VaeTraining

STAGE, FILE = "ACCELERATE_DEEPSPEED_ZERO_STAGE", "ACCELERATE_DEEPSPEED_CONFIG_FILE"


def with_zero(work: Callable[..., None], *arguments: Any, stage: int = 2) -> None:
    on_two_processes(_uncompiled, work, arguments, **{REQUEST: "true", STAGE: str(stage)})


def _uncompiled(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # On a CPU DeepSpeed would first compile an exchange of its own; gloo's does as well.
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    work(*arguments)


def train_as_on_a_gpu(config: Path) -> None:
    # On a GPU DeepSpeed sees an autocast that is begun outside its engine, and ends it.
    asked = torch.is_autocast_enabled
    torch.is_autocast_enabled = lambda device="cpu": asked(device)
    train(config)


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


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_changes_nothing_in_bf16_with_checkpointing_accumulation_clipping_and_decay(
    write_dit_config, tmp_path, stage
):
    changes = {
        **SLOW,
        "train__precision": "bf16",
        "train__accumulate": 2,
        "train__gradient_checkpointing": True,
        "train__steps": 2,
        "output__log_every": 1,
        "optimizer__clip_norm": 0.1,
        "optimizer__weight_decay": 0.1,
    }
    whole, spread = (write_dit_config(name, **changes) for name in ("whole", "spread"))
    on_two_processes(train, whole)
    with_zero(train_as_on_a_gpu, spread, stage=stage)
    assert_same_adapter(tmp_path / "spread", tmp_path / "whole", 1e-6)
    # Adam and clipping forgive gradients of another size; their logged norm does not.
    norms = [
        [record["gradient_norm"] for record in read_log(tmp_path / name, "train")]
        for name in ("spread", "whole")
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert validation(tmp_path / "spread") == pytest.approx(validation(tmp_path / "whole"))


def expect_a_skipped_step() -> None:
    accelerator = make_accelerator("cpu", "fp32")
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
    part = partition(accelerator, module, optimizer, batch_size=1, accumulate=1, clip_norm=1.0)
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
    script, shown = tmp_path / "show.py", tmp_path / "shown.json"
    script.write_text(
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from training.engine.zero import REQUEST, zero_settings\n"
        "stage = zero_settings()['zero_optimization']['stage']\n"
        "Path(sys.argv[1]).write_text(json.dumps([os.environ[REQUEST], stage]))\n"
    )
    file = ROOT / "training" / "configs" / "accelerate" / "deepspeed.yaml"
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(file), "--num_processes=1"]
    subprocess.run(
        [sys.executable, *launch, str(script), str(shown)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        timeout=600,
    )
    assert json.loads(shown.read_text()) == ["true", 2]


def write_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "zero.json"
    path.write_text(json.dumps(settings))
    monkeypatch.setenv(FILE, str(path))


def test_few_gradients_are_summed_at_once_unless_a_file_says_otherwise(monkeypatch, tmp_path):
    assert zero_settings()["zero_optimization"]["reduce_bucket_size"] == 20_000_000
    write_settings(
        monkeypatch, tmp_path, {"zero_optimization": {"stage": 1, "reduce_bucket_size": 7}}
    )
    assert zero_settings()["zero_optimization"] == {"stage": 1, "reduce_bucket_size": 7}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (STAGE, "3", "asks for ZeRO stage 3, which spreads the weights too"),
        (STAGE, "0", "asks for ZeRO stage 0, which spreads nothing"),
        (
            "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
            "cpu",
            "sets offload_optimizer_device to",
        ),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "cpu", "sets offload_param_device to cpu"),
        (FILE, "missing.json", "DeepSpeed configuration cannot be read"),
    ],
)
def test_other_ways_of_spreading_are_refused(monkeypatch, variable, value, sentence):
    monkeypatch.setenv(variable, value)
    with pytest.raises(TrainingError, match=sentence):
        zero_settings()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": {"type": "AdamW"}}, "sets optimizer, which"),
        ({"fp16": {"enabled": True}}, "sets fp16, which"),
        ({"torch_autocast": {"enabled": True}}, "sets torch_autocast, which"),
        (
            {"zero_optimization": {"stage": 2, "round_robin_gradients": True}},
            r"sets zero_optimization\.round_robin_gradients, which",
        ),
    ],
)
def test_what_is_not_known_in_deepspeeds_own_file_is_refused(
    monkeypatch, tmp_path, settings, sentence
):
    write_settings(monkeypatch, tmp_path, {"zero_optimization": {"stage": 2}, **settings})
    with pytest.raises(TrainingError, match=sentence):
        zero_settings()


def test_a_file_without_zero_is_refused(monkeypatch, tmp_path):
    write_settings(monkeypatch, tmp_path, {"gradient_clipping": 1.0})
    with pytest.raises(TrainingError, match="DeepSpeed configuration cannot be read"):
        zero_settings()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setenv(REQUEST, "true")
    monkeypatch.setattr(zero, "is_deepspeed_available", lambda: False)
    with pytest.raises(TrainingError, match=r"davae\[train-deepspeed\]"):
        zero_wanted(Accelerator(cpu=True))


def test_one_process_is_refused(monkeypatch):
    monkeypatch.setenv(REQUEST, "true")
    with pytest.raises(TrainingError, match="needs two processes or more"):
        zero_wanted(Accelerator(cpu=True))


def expect_refusals(muon: Path, codec: Any) -> None:
    with pytest.raises(TrainingError, match=r"optimizer\.kind is muon"):
        DitTraining(read_dit_config(muon))
    with pytest.raises(TrainingError, match="stage 1 shares nothing"):
        VaeTraining(codec)


def test_muon_and_stage_1_are_refused(write_dit_config, make_config):
    with_zero(expect_refusals, write_dit_config("muon", optimizer__kind="muon"), make_config())
