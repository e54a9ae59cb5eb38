import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from davae_core.files import read_safetensors, write_safetensors
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


def test_what_lies_beside_an_older_checkpoint_stays(tmp_path: Path) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=1)
    for step in (5, 10, 15):
        saved = folder.save(RunState(step=step), collect(average, {"model": part}))
        if step < 15:
            (saved / "result.safetensors").write_bytes(b"an adapter")
    for older in ("step_00000005", "step_00000010"):
        assert [path.name for path in (folder.folder / older).iterdir()] == ["result.safetensors"]
    assert folder.latest() == folder.newest_whole() == saved


def test_a_checkpoint_that_was_thinned_out_half_is_thinned_out_with_the_next(
    tmp_path: Path,
) -> None:
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=1)
    contents = collect(average, {"model": part})
    first = folder.save(RunState(step=5), contents)
    state = (first / "state.json").read_bytes()
    folder.save(RunState(step=10), contents)
    first.mkdir()
    (first / "state.json").write_bytes(state)
    (first / "result.safetensors").write_bytes(b"an adapter")
    folder.save(RunState(step=15), contents)
    assert [path.name for path in first.iterdir()] == ["result.safetensors"]


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
    with pytest.raises(
        TrainingError, match=r"is cut short\): remove that folder to resume"
    ) as error:
        load_checkpoint(path, average, {"model": part})
    assert "download" not in str(error.value)
    (path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"damaged state\.json: remove that folder"):
        read_state(path)


def two_checkpoints(tmp_path: Path) -> tuple[CheckpointFolder, Path, Path]:
    """A folder with a checkpoint of step 1 and one of step 2."""
    part, average = trained(0)
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    contents = collect(average, {"model": part})
    return folder, *(folder.save(RunState(step=step), contents) for step in (1, 2))


def flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "average.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip_a_bit, "average.safetensors is not what was written"),
    "a lost file": (
        lambda path: (path / "model_optimizer.safetensors").unlink(),
        "model_optimizer.safetensors is missing",
    ),
    "an empty file": (
        lambda path: (path / "model.safetensors").write_bytes(b""),
        "model.safetensors is not what was written",
    ),
    "a lost state": (lambda path: (path / "state.json").unlink(), "state.json is missing"),
    "another state": (
        lambda path: (path / "state.json").write_text('{"step": 2}'),
        "state.json is not what was written",
    ),
    "empty hashes": (lambda path: (path / "SHA256SUMS").write_text(""), "SHA256SUMS is empty"),
    "no text": (
        lambda path: (path / "SHA256SUMS").write_bytes(b"\xff\0"),
        "its files cannot be read",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_set_aside_for_the_one_before_and_that_is_said(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    harm, reason = DAMAGE[kind]
    folder, whole, newest = two_checkpoints(tmp_path)
    harm(newest)
    assert folder.newest_whole() == whole
    assert f"{newest} is damaged ({reason}" in caplog.text
    assert "going on from the one before it, step_00000001" in caplog.text
    assert "called step_00000002.damaged now, remove that folder" in caplog.text
    assert {path.name for path in folder.folder.iterdir()} == {whole.name, f"{newest.name}.damaged"}
    caplog.clear()
    assert folder.newest_whole() == whole
    assert not caplog.text


def test_a_run_without_a_whole_checkpoint_ends_and_moves_nothing(tmp_path: Path) -> None:
    folder, *both = two_checkpoints(tmp_path)
    for path in both:
        flip_a_bit(path)
    with pytest.raises(TrainingError, match=r"No checkpoint in .* is whole") as error:
        folder.newest_whole()
    assert f"{folder.folder} is whole (of step_00000002, average.safetensors is not" in str(
        error.value
    )
    assert "remove that folder to start anew" in str(error.value)
    assert sorted(folder.folder.iterdir()) == both


def test_a_checkpoint_from_before_hashes_is_taken_unless_its_damage_shows(tmp_path: Path) -> None:
    folder, whole, newest = two_checkpoints(tmp_path)
    for path in (whole, newest):
        (path / "SHA256SUMS").unlink()
    assert folder.newest_whole() == newest
    (newest / "model.safetensors").write_bytes(b"")
    assert folder.newest_whole() == whole
    (whole / "average.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"average\.safetensors is missing"):
        folder.newest_whole()


def test_no_checkpoint_is_no_whole_one(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nowhere", keep=1).newest_whole() is None


def test_the_hashes_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    _, _, newest = two_checkpoints(tmp_path)
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=newest, capture_output=True, text=True).returncode == 0
    listed = (newest / "SHA256SUMS").read_text().splitlines()
    names = {path.name for path in newest.iterdir()} - {"SHA256SUMS"}
    assert {line.split("  ")[1] for line in listed} == names and "state.json" in names


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    folder, _, newest = two_checkpoints(tmp_path)
    part, average = trained(7)
    folder.save(RunState(step=2, cpu_seconds=9.0), collect(average, {"model": part}))
    assert len(list(folder.folder.iterdir())) == 2
    assert read_state(newest).cpu_seconds == 9.0 and folder.newest_whole() == newest


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
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    with pytest.raises(TrainingError, match="could not be written") as error:
        folder.save(RunState(step=2), collect(average, {"model": part}))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert list(folder.folder.iterdir()) == [whole]
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
