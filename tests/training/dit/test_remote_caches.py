"""Caches at addresses are trained on as those on the disk are: the same samples, few shards at a time, each checked."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from davae_core.files import read_safetensors
from tests.training.dit_fixtures import held_out_of, opened, rewrite_shard
from tests.training.two_runs import start_two
from training.__main__ import main
from training.cache.head import read_head
from training.cache.shard_files import shard_path
from training.cache.table_file import TABLE, write_table
from training.dit.batches import LatentBatches
from training.dit.config import DitTrainingConfig
from training.dit.inputs import open_caches
from training.dit.train import train_dit
from training.engine.ahead import FilesAhead
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config

PATIENCE = 600


@pytest.fixture
def cache(davae_cache: Path) -> Path:
    """A cache with its index, as the command leaves it."""
    for folder in (davae_cache, held_out_of(davae_cache)):
        write_table(folder, read_head(folder))
    return davae_cache


@pytest.fixture
def remote(write_dit_config: Any, cache: Path, tmp_path: Path) -> Any:
    """A configuration over caches at addresses, with room of its own for their shards."""

    def write(name: str, *addresses: str, **changes: Any) -> Path:
        settings = {
            "data__caches": list(addresses), "data__in_memory": False, "data__window_shards": 1,
            "data__downloads": str(tmp_path / "downloads"), "train__steps": 8,
            "loss__ramp_steps": 4, "validation__samples_every": 0, "validation__every": 4,
            "output__checkpoint_every": 2,
        }  # fmt: skip
        (tmp_path / "downloads").mkdir(exist_ok=True)
        path: Path = write_dit_config(name, **{**settings, **changes})
        return path

    return write


def put(system: Any, folder: Path, name: str) -> str:
    """The cache in a folder at an address in memory."""
    system.put(str(folder), f"/{name}", recursive=True)
    return f"memory://{name}"


def train(config: Path, stop_at: int | None = None) -> Any:
    return train_dit(read_config(DitTrainingConfig, config), stop_at)


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder, "train")]


def test_a_run_over_an_address_is_the_one_over_the_folder_also_when_it_goes_on(
    remote: Any, cache: Path, in_memory_system: Any, tmp_path: Path
) -> None:
    train(remote("local", str(cache)))
    held_out = put(in_memory_system, held_out_of(cache), "held_out")
    config = remote("far", put(in_memory_system, cache, "cache") + "/", validation__cache=held_out)
    assert train(config, stop_at=3) is None
    train(config)
    assert losses(tmp_path / "far") == losses(tmp_path / "local")
    ours, theirs = (read_log(tmp_path / name, "validation")[-1] for name in ("far", "local"))
    assert ours["velocity"] == theirs["velocity"]
    assert list((tmp_path / "downloads").iterdir()) == []


def test_no_more_shards_than_those_of_two_windows_are_here(
    cache: Path, in_memory_system: Any, tmp_path: Path
) -> None:
    addresses = [
        put(in_memory_system, cache, "one"), put(in_memory_system, held_out_of(cache), "two")
    ]  # fmt: skip
    data = LatentBatches(open_caches(addresses, False, tmp_path / "room"), 1, 7, 0.0, window=1)
    assert data.is_remote and data.windows is not None and data.windows.per_epoch == 4
    batches = (data.batch(number) for number in range(2 * data.per_epoch))
    seen = set()
    for number, _ in enumerate(FilesAhead(data).follow(batches, 0, behind=0, reach=0)):
        here = set((tmp_path / "room").rglob("shard_*.safetensors"))
        window = data.order.window_of(number)
        wanted = {path for near in (0, 1) for path in data.files_of(window + near)}
        assert here <= wanted
        seen |= here
    assert len(seen) == 4


def test_workers_bring_shards_over_http(
    remote: Any, cache: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    shutil.copytree(cache, folder / "cache")
    train(remote("local", str(cache)))
    train(remote("far", f"{address}/cache", data__workers=2))
    assert losses(tmp_path / "far") == losses(tmp_path / "local")


def test_what_changed_or_is_damaged_at_an_address_is_refused(
    remote: Any, cache: Path, in_memory_system: Any, tmp_path: Path, capsys: Any
) -> None:
    for number in (0, 1):
        rewrite_shard(shard_path(cache, number), lambda tensors: tensors["latent.0"].zero_())
    config = remote("far", put(in_memory_system, cache, "cache"))
    assert main(["dit", str(config)]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "memory://cache/shard_0000" in told
    assert "in data.caches is not what index.safetensors there tells of it" in told
    assert list((tmp_path / "downloads").iterdir()) == []
    in_memory_system.pipe_file(f"/cache/{TABLE}", b"no index")
    with pytest.raises(TrainingError, match=r"memory://cache/index\.safetensors .* is damaged"):
        train(config)
    in_memory_system.rm(f"/cache/{TABLE}")
    with pytest.raises(TrainingError, match=r"index\.safetensors in data\.caches cannot be read"):
        train(config)


def test_a_dry_run_brings_no_shard_and_leaves_nothing(
    remote: Any, cache: Path, in_memory_system: Any, tmp_path: Path, capsys: Any
) -> None:
    config = remote("far", put(in_memory_system, cache, "cache"))
    in_memory_system.rm("/cache/shard_00000.safetensors")
    assert main(["dit", str(config), "--dry-run"]) == 0
    assert "over 6 pictures" in capsys.readouterr().out
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__window_shards": 0}, r"data\.caches names memory://cache, .* is 0: set it"),
        ({"data__in_memory": True}, r"data\.in_memory is true, but data\.caches names memory:"),
        (
            {"model__kind": "lightning", "model__train": "full"},
            r"model\.kind is lightning, which measures latents of all shards",
        ),
    ],
)
def test_settings_that_no_address_goes_with_are_refused(
    remote: Any, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        read_config(DitTrainingConfig, remote("far", "memory://cache", **changes))


def test_windows_are_of_use_without_an_address_and_stay_what_they_are(
    remote: Any, cache: Path, tmp_path: Path
) -> None:
    config = remote("run", str(cache))
    assert train(config, stop_at=3) is None
    with pytest.raises(TrainingError, match=r"data\.window_shards is 0, but the checkpoint of"):
        train(remote("run", str(cache), data__window_shards=0))
    train(remote("run", str(cache), data__downloads=None))
    train(remote("whole", str(cache)))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    data = LatentBatches([opened(cache)], 2, 7, 0.0, window=1)
    assert not data.is_remote


def test_two_processes_of_which_one_is_killed_go_on_with_the_same_samples(
    remote: Any, cache: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    shutil.copytree(cache, folder / "cache")
    changes = {"train__steps": 20, "output__keep": 100, "validation__every": 20}
    config = remote("far", f"{address}/cache", **changes)
    processes = start_two("dit", config)
    checkpoint = tmp_path / "far" / "checkpoints" / "step_00000004"
    try:
        deadline = time.monotonic() + PATIENCE
        while not checkpoint.is_dir():
            assert processes[0].poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        # The second, and then, as a launcher does, the one that is left.
        for process in reversed(processes):
            process.kill()
            process.wait()
    assert len(losses(tmp_path / "far")) < 20
    for process in start_two("dit", config):
        assert process.wait(PATIENCE) == 0
    # One process with twice the batch sees the samples of two.
    train(remote("whole", str(cache), train__batch_size=4, **changes))
    found, wanted = losses(tmp_path / "far"), losses(tmp_path / "whole")
    assert len(found) == 20 and found == pytest.approx(wanted, abs=1e-4)
    ours, theirs = (
        read_safetensors(tmp_path / name / "result.safetensors")[0] for name in ("far", "whole")
    )
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[name] - tensor).max() < 1e-3 for name, tensor in theirs.items())
