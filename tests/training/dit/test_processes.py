"""Stage 2 on two processes: with the whole model in each, and with the model shared between them (FSDP)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from davae_core.files import read_safetensors
from davae_core.transformer.adapter import read_adapter
from tests.training.two_processes import on_two_processes, train
from training.dit.config import DitTrainingConfig
from training.dit.train import DitTraining, train_dit
from training.engine.checkpointing import MODEL
from training.engine.sharding import shard, sharding_wanted
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.train import VaeTraining

ROOT = Path(__file__).parents[3]
FSDP = ROOT / "training" / "configs" / "accelerate" / "fsdp.yaml"
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
# Adam moves weights of next to no gradient by the sign of rounding, as far as its rate allows.
SLOW = {"optimizer__learning_rate": 1e-4, "validation__samples_every": 2}


def assert_same_adapter(ours: Path, theirs: Path, tolerance: float) -> None:
    for name in ("result.safetensors", "result_live.safetensors"):
        one, other = read_adapter(ours / name), read_adapter(theirs / name)
        assert any(edge.any() for edge in one.edges.values())
        for found, wanted in ((one.lora, other.lora), (one.edges, other.edges)):
            assert found.keys() == wanted.keys()
            for key, tensor in found.items():
                torch.testing.assert_close(tensor, wanted[key], atol=tolerance, rtol=0)


def validation(folder: Path) -> list[float]:
    return [record["velocity"] for record in read_log(folder, "validation")]


def test_two_processes_make_the_adapter_of_one_with_twice_the_batch_and_resume(
    write_dit_config, tmp_path
):
    train_dit(read_config(DitTrainingConfig, write_dit_config("one", train__batch_size=4, **SLOW)))
    two = write_dit_config("two", train__batch_size=2, **SLOW)
    on_two_processes(train, two, 2)
    on_two_processes(train, two)
    assert_same_adapter(tmp_path / "two", tmp_path / "one", 1e-5)
    assert validation(tmp_path / "two") == pytest.approx(validation(tmp_path / "one"), abs=1e-5)


def test_a_run_goes_on_with_twice_the_processes_and_half_the_batch(write_dit_config, tmp_path):
    quiet = {**SLOW, "validation__samples_every": 0}
    train_dit(read_config(DitTrainingConfig, write_dit_config("one", train__batch_size=4, **quiet)))
    alone = write_dit_config("two", train__batch_size=4, **quiet)
    assert train_dit(read_config(DitTrainingConfig, alone), stop_at=2) is None
    on_two_processes(train, write_dit_config("two", train__batch_size=2, **quiet))
    assert_same_adapter(tmp_path / "two", tmp_path / "one", 1e-5)
    assert validation(tmp_path / "two") == pytest.approx(validation(tmp_path / "one"), abs=1e-5)


def test_a_sharded_run_launched_by_accelerate_resumes_and_makes_the_adapter_of_one_process(
    write_dit_config, tmp_path
):
    train_dit(read_config(DitTrainingConfig, write_dit_config("one", train__batch_size=4, **SLOW)))
    two = write_dit_config("two", train__batch_size=2, **SLOW)
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(FSDP), "--num_processes=2"]
    found = subprocess.run(
        [sys.executable, *launch, "-m", "training", "dit", str(two), "--stop-at", "2"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    # A run that stops early says so with 1.
    assert "Stopped before the end with a checkpoint" in found.stderr
    on_two_processes(train, two, **SHARDED)
    assert_same_adapter(tmp_path / "two", tmp_path / "one", 1e-5)
    assert validation(tmp_path / "two") == pytest.approx(validation(tmp_path / "one"), abs=1e-5)
    drawn = [
        sorted(path.name for path in (tmp_path / n / "pictures").iterdir()) for n in ("one", "two")
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4


def test_sharding_changes_nothing_in_bf16_with_checkpointing_and_accumulation(
    write_dit_config, tmp_path
):
    changes = {
        **SLOW,
        "train__precision": "bf16",
        "train__accumulate": 2,
        "train__recomputed_blocks": 1,
        "train__steps": 2,
    }
    whole = write_dit_config("whole", **changes)
    sharded = write_dit_config("sharded", **changes)
    on_two_processes(train, whole)
    # Both kinds of letting weights go: ZeRO-3 above, ZeRO-2 here.
    on_two_processes(train, sharded, **{**SHARDED, "FSDP_RESHARD_AFTER_FORWARD": "false"})
    assert_same_adapter(tmp_path / "sharded", tmp_path / "whole", 1e-6)
    assert validation(tmp_path / "sharded") == pytest.approx(validation(tmp_path / "whole"))


def test_a_detail_pass_is_the_same_sharded(write_dit_config, tmp_path):
    detail = {**SLOW, "train__mode": "detail", "loss__ramp_steps": 0, "loss__base_noise": 0.05}
    one = write_dit_config("one", train__batch_size=4, **detail)
    train_dit(read_config(DitTrainingConfig, one))
    two = write_dit_config("two", train__batch_size=2, **detail)
    on_two_processes(train, two, 2, **SHARDED)
    on_two_processes(train, two, **SHARDED)
    assert_same_adapter(tmp_path / "two", tmp_path / "one", 1e-5)


def test_a_whole_model_is_trained_sharded_unsharded_and_sharded_again(write_dit_config, tmp_path):
    changes = {**SLOW, "model__train": "full", "train__steps": 3}
    whole, sharded = write_dit_config("whole", **changes), write_dit_config("sharded", **changes)
    on_two_processes(train, whole)
    on_two_processes(train, sharded, 1, **SHARDED)
    on_two_processes(train, sharded, 2)
    on_two_processes(train, sharded, **SHARDED)
    ours, theirs = (
        read_safetensors(tmp_path / name / "result.safetensors")[0] for name in ("sharded", "whole")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-6, rtol=0)


def expect_refusals(refused: dict[str, Path]) -> None:
    for sentence, path in refused.items():
        with pytest.raises(TrainingError, match=sentence):
            DitTraining(read_config(DitTrainingConfig, path))


def test_what_cannot_be_sharded_is_refused(write_dit_config):
    refused = {
        "optimizer.kind is muon": write_dit_config("muon", optimizer__kind="muon"),
        "optimizer.kind is adamw8bit": write_dit_config("bits", optimizer__kind="adamw8bit"),
        "train.compile is true": write_dit_config("compiled", train__compile=True),
    }
    on_two_processes(expect_refusals, refused, **SHARDED)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("FSDP_VERSION", "1", "asks for FSDP version 1"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "set train.recomputed_blocks instead"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params, which this trainer does not know"),
    ],
)
def test_other_ways_of_sharding_are_refused(monkeypatch, variable, value, sentence):
    for name, setting in (*SHARDED.items(), (variable, value)):
        monkeypatch.setenv(name, setting)
    if variable == "FSDP_VERSION":
        monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "FULL_SHARD")
    with pytest.raises(TrainingError, match=sentence):
        shard(Accelerator(cpu=True), nn.Linear(2, 2), ())


def test_sharding_one_process_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TrainingError, match="needs two processes or more"):
        sharding_wanted(Accelerator(cpu=True))


def expect_a_refused_codec(config) -> None:
    with pytest.raises(TrainingError, match="stage 1 shares nothing"):
        VaeTraining(config)


def test_stage_1_is_not_sharded(make_config):
    on_two_processes(expect_a_refused_codec, make_config(), **SHARDED)


def count_broadcasts(config: Path, counted: Path) -> None:
    sent: list[int] = []
    plain = dist._broadcast_coalesced

    def noted(group: object, tensors: list[Tensor], *rest: object) -> None:
        sent.append(sum(tensor.numel() for tensor in tensors))
        plain(group, tensors, *rest)

    training = DitTraining(read_config(DitTrainingConfig, config))
    dist._broadcast_coalesced = noted
    try:
        training.begin(2, None)
        for step in range(2):
            assert training.advance(step) is not None
        wrapped = training.updates.models[MODEL]
    finally:
        dist._broadcast_coalesced = plain
    assert isinstance(wrapped, nn.parallel.DistributedDataParallel)
    assert wrapped.gradient_as_bucket_view
    counted.with_name(f"sent_{os.environ['RANK']}").write_text(str(sum(sent)))


def test_processes_send_gradients_alone_and_no_table_of_positions(write_dit_config, tmp_path):
    on_two_processes(count_broadcasts, write_dit_config("two", **SLOW), tmp_path / "sent")
    assert [(tmp_path / f"sent_{rank}").read_text() for rank in "01"] == ["0", "0"]
