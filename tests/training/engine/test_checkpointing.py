import json
from pathlib import Path

import pytest
import torch
from torch import nn

from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from training.engine.checkpointing import (
    CheckpointFolder,
    RunState,
    Trained,
    collect,
    load_checkpoint,
    read_state,
)
from training.engine.ema import WeightAverage
from training.engine.optimizers import build_optimizer
from training.errors import TrainingError
from training.settings.run_config import OptimizerConfig


def trained(seed: int, steps: int = 3) -> tuple[Trained, WeightAverage]:
    """A small module after a few steps of both optimizer rules, and its average."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    part = Trained(module, build_optimizer(module, OptimizerConfig(kind="muon")))
    average = WeightAverage(module, 0.9)
    for _ in range(steps):
        advance(part, average)
    return part, average


def advance(part: Trained, average: WeightAverage) -> None:
    part.optimizer.zero_grad()
    part.module(torch.randn(2, 3, 6, 6)).square().sum().backward()
    part.optimizer.step()
    average.update()


def test_a_loaded_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path, keep=2)
    path = folder.save(RunState(step=3, average_updates=3), collect(average, {"model": part}))
    other, other_average = trained(1)
    state = load_checkpoint(path, other_average, {"model": other})
    assert (state.step, other_average.updates) == (3, 3)
    for one, mean in ((part, average), (other, other_average)):
        torch.manual_seed(9)
        advance(one, mean)
    for name, value in part.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name])
    for name, mean_value in average.means.items():
        assert torch.equal(mean_value, other_average.means[name])


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 100, 20000):
        folder.save(RunState(step=step), collect(average, {"model": part}))
    assert sorted(path.name for path in folder.folder.iterdir()) == [
        "step_00000100",
        "step_00020000",
    ]
    assert folder.latest() == folder.folder / "step_00020000"


def test_a_folder_that_was_not_finished_is_no_checkpoint(tmp_path: Path) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path, keep=2)
    whole = folder.save(RunState(step=1), collect(average, {"model": part}))
    (tmp_path / ".step_00000002.part").mkdir()
    (tmp_path / "step_00000003").mkdir()
    assert folder.latest() == whole


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nowhere", keep=1).latest() is None


def test_damaged_checkpoints_are_refused_in_a_sentence(tmp_path: Path) -> None:
    part, average = trained(0)
    path = CheckpointFolder(tmp_path, keep=1).save(
        RunState(step=1), collect(average, {"model": part})
    )
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="cut short"):
        load_checkpoint(path, average, {"model": part})
    (path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"damaged state\.json: remove that folder"):
        read_state(path)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "1"}, {"step": -1}, {"step": 10**30}, {"cpu_seconds": "x"}, {"config": []}, {"latents": {}},
        {"files": [1]}, {"files": ["a" * 5000]}, {"files": ["../a"]}, {"unheard_of": 1},
    ],
)  # fmt: skip
def test_a_state_of_other_types_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    state = tmp_path / "state.json"
    state.write_text(json.dumps({**vars(RunState(step=1)), **change}))
    with pytest.raises(TrainingError, match=r"damaged state\.json: remove that folder"):
        read_state(tmp_path)


def test_a_state_nested_too_deep_is_damage(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"a":' * 100_000)
    with pytest.raises(TrainingError, match=r"damaged state\.json"):
        read_state(tmp_path)


@pytest.mark.parametrize("name", ["model_optimizer.safetensors", "average.safetensors"])
def test_a_missing_file_is_damage(tmp_path: Path, name: str) -> None:
    part, average = trained(0)
    path = CheckpointFolder(tmp_path, keep=1).save(
        RunState(step=1), collect(average, {"model": part})
    )
    (path / name).unlink()
    with pytest.raises(TrainingError, match=f"lacks {name}: remove that folder"):
        load_checkpoint(path, average, {"model": part})


def test_another_models_checkpoint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    part, average = trained(0)
    path = CheckpointFolder(tmp_path, keep=1).save(
        RunState(step=1), collect(average, {"model": part})
    )
    module = nn.Conv2d(3, 5, 1)
    other = Trained(module, build_optimizer(module, OptimizerConfig(kind="muon")))
    with pytest.raises(TrainingError, match="belongs to another model"):
        load_checkpoint(path, WeightAverage(module, 0.9), {"model": other})


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_ones(tmp_path: Path) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    whole = folder.save(RunState(step=1), collect(average, {"model": part}))
    blocked = folder.folder / ".step_00000002.part"
    blocked.write_text("a file where the folder belongs")
    with pytest.raises(TrainingError, match="could not be written") as error:
        folder.save(RunState(step=2), collect(average, {"model": part}))
    assert "\n" not in str(error.value)
    assert folder.latest() == whole
    assert json.loads((whole / "state.json").read_text())["step"] == 1


def test_states_in_8_bits_come_back_as_they_were(tmp_path: Path) -> None:
    part, average = trained(0)
    kernel = part.optimizer.param_groups[0]["params"][0]
    # As bitsandbytes keeps them: a plain count, and a table that all parameters share.
    table = torch.linspace(-1, 1, 256)
    state = {
        "step": 3,
        "state1": torch.arange(108, dtype=torch.uint8),
        "qmap1": table,
        "qmap2": table,
    }
    part.optimizer.state[kernel] = state
    folder = CheckpointFolder(tmp_path, keep=1)
    path = folder.save(RunState(step=3), collect(average, {"model": part}))
    other, other_average = trained(1, steps=0)
    load_checkpoint(path, other_average, {"model": other})
    found = other.optimizer.state[other.optimizer.param_groups[0]["params"][0]]
    assert found.keys() == state.keys()
    assert type(found["step"]) is int and found["step"] == 3
    for name in ("state1", "qmap1", "qmap2"):
        assert found[name].dtype == state[name].dtype and torch.equal(found[name], state[name])


def test_a_checkpoint_with_the_earlier_names_of_adamws_states_goes_on(tmp_path: Path) -> None:
    part, average = trained(0)
    path = CheckpointFolder(tmp_path, keep=1).save(
        RunState(step=3), collect(average, {"model": part})
    )
    file = path / "model_optimizer.safetensors"
    tensors, _ = read_safetensors(file)
    earlier = {"exp_avg": "first", "exp_avg_sq": "second", "step": "count"}
    renamed = {}
    for name, tensor in tensors.items():
        owner, _, key = name.rpartition("/")
        kept = tensor.long() if key == "step" else tensor
        renamed[f"{owner}/{earlier.get(key, key)}"] = kept
    write_safetensors(file, renamed, {})
    assert renamed.keys() != tensors.keys()
    other, other_average = trained(1)
    load_checkpoint(path, other_average, {"model": other})
    for one, mean in ((part, average), (other, other_average)):
        torch.manual_seed(5)
        advance(one, mean)
    for name, value in part.weights().items():
        assert torch.equal(value, other.weights()[name]), name
