"""The trainer as its users start it: killed, interrupted, out of disk, on two processes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.engine.tracking import read_log
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig
from training.vae.train import train_vae

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "training", "vae"]
PATIENCE = 300


def start(config: Path, **settings: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(config)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def last_checkpoint(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step_*"))


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder, "train")]


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    write_config: Any, tmp_path: Path
) -> None:
    changes = {
        "train__steps": 40,
        "output__checkpoint_every": 4,
        "output__keep": 100,
        "loss__gan__weight": 0.1,
        "validation__every": 20,
    }
    killed, whole = write_config("killed", **changes), write_config("whole", **changes)
    process = start(killed)
    wait_for(tmp_path / "killed" / "checkpoints" / "step_00000008", process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    reached = int(last_checkpoint(tmp_path / "killed").name.removeprefix("step_"))
    assert 8 <= reached < 40

    code, output, _ = finish(start(killed))
    assert (code, output) == (0, f"{tmp_path / 'killed' / 'result.safetensors'}\n")
    # In a process of its own too: another number of threads sums in another order.
    assert finish(start(whole))[0] == 0
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    names = sorted(path.name for path in last_checkpoint(tmp_path / "whole").glob("*.safetensors"))
    assert len(names) == 5
    for name in names:
        ours = load_file(last_checkpoint(tmp_path / "killed") / name)
        theirs = load_file(last_checkpoint(tmp_path / "whole") / name)
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def test_an_interrupted_run_leaves_a_checkpoint_of_its_last_step(
    write_config: Any, tmp_path: Path
) -> None:
    config = write_config(
        "run", train__steps=100_000, output__checkpoint_every=100_000, validation__every=100_000
    )
    process = start(config)
    wait_for(tmp_path / "run" / "log.jsonl", process)
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert code == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].endswith("run the same command to go on.")
    reached = int(last_checkpoint(tmp_path / "run").name.removeprefix("step_"))
    assert reached == read_log(tmp_path / "run", "train")[-1]["step"]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoints(
    write_config: Any, tmp_path: Path
) -> None:
    config = write_config("run", train__steps=4, output__log_every=4, validation__folders=[])
    assert train_vae(read_config(VaeTrainingConfig, config), stop_at=2) is None
    kept = last_checkpoint(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    code, _, errors = finish(start(config, preexec_fn=limit_file_size))
    assert code == 1
    assert "Traceback" not in errors
    assert "could not be written" in errors.splitlines()[-1]
    assert "earlier checkpoints are untouched" in errors.splitlines()[-1]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [kept.name]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_two_processes_learn_what_one_with_twice_the_batch_learns(
    write_config: Any, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "model__trunk": "trained",
        "loss__alignment__mode": "adaptive",
        "loss__alignment__weight": 0.5,
        "loss__gan__weight": 0.1,
        "loss__gan__start_step": 2,
        "train__steps": 6,
        "validation__every": 6,
    }
    one = write_config("one", **changes, train__batch_size=4)
    two = write_config("two", **changes, train__batch_size=2)
    train_vae(read_config(VaeTrainingConfig, one))
    run_on_two_processes(two)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    ours, theirs = (read_log(tmp_path / name, "validation")[-1] for name in ("two", "one"))
    assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=1e-3)
    assert ours["pictures"] == theirs["pictures"]


def test_unreadable_pictures_that_any_process_meets_are_listed(
    write_config: Any, pictures: Path, tmp_path: Path
) -> None:
    for name in ("bad_1.png", "bad_2.png", "bad_3.png"):
        (pictures / "train" / name).write_bytes(b"no picture")
    changes = {"train__steps": 3, "validation__folders": []}
    one = write_config("one", **changes, train__batch_size=4)
    train_vae(read_config(VaeTrainingConfig, one))
    run_on_two_processes(write_config("two", **changes, train__batch_size=2))
    listed = [(tmp_path / name / "unreadable_pictures.tsv").read_text() for name in ("one", "two")]
    assert listed[0] == listed[1] and listed[0].count("\n") == 3
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def run_on_two_processes(config: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    found = subprocess.run(
        [*launch, "-m", "training", "vae", str(config)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert found.returncode == 0, found.stderr
