import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from davae_core.disk.leftovers import beside, remove_left_overs
from davae_core.files import read_safetensors, write_safetensors

ROOT = Path(__file__).parents[3]
TWO_DAYS = 2 * 24 * 3600
KILLED = """
import os, signal, sys
from davae_core.files import write_atomically
def write(part):
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
write_atomically(sys.argv[1], write)
"""


def killed_while_writing(path: Path) -> Path:
    """What a process leaves that is killed while it writes `path`."""
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    (left,) = path.parent.glob(".*.part")
    return left


def aged(path: Path, seconds: float) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_a_killed_write_left_goes_before_the_next_and_is_said(tmp_path, caplog):
    left = killed_while_writing(tmp_path / "merged.safetensors")
    assert not (tmp_path / "merged.safetensors").exists()
    write_safetensors(tmp_path / "other.safetensors", {"a": torch.ones(2)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["other.safetensors"]
    assert f"removed {left}, which a write that was killed had left" in caplog.text


def test_what_a_living_process_writes_stays(tmp_path):
    mine = beside(tmp_path / "a.safetensors")
    mine.write_bytes(b"half")
    remove_left_overs(tmp_path)
    assert mine.exists()


def test_what_another_machine_writes_stays_for_a_day(tmp_path):
    names = [
        f".a.00000000-{os.getpid()}-{'0' * 16}.part",
        f".a.{'0' * 16}.part",
        ".step_00000002.part",
    ]
    for age, kept in ((60, names), (TWO_DAYS, [])):
        folder = tmp_path / str(age)
        folder.mkdir()
        for name in names[:2]:
            aged_file = folder / name
            aged_file.write_bytes(b"half")
            aged(aged_file, age)
        (folder / names[2]).mkdir()
        (folder / names[2] / "model.safetensors").write_bytes(b"half")
        aged(folder / names[2], age)
        remove_left_overs(folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(kept)


@pytest.mark.parametrize("name", [".bashrc.part", "a.part", ".a.0123.part", "step_00000001"])
def test_what_is_not_ours_stays_however_old(tmp_path, name):
    (tmp_path / name).write_bytes(b"theirs")
    aged(tmp_path / name, TWO_DAYS)
    remove_left_overs(tmp_path)
    assert (tmp_path / name).exists()


def test_a_write_beside_a_left_over_of_the_same_name_is_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    killed_while_writing(path)
    write_safetensors(path, {"a": torch.ones(2)}, {})
    assert torch.equal(read_safetensors(path)[0]["a"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [path]
