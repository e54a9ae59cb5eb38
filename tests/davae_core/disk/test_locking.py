import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from davae_core.disk.locking import LOCK, FolderTaken, in_turn, locked

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from davae_core.disk.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from davae_core.disk.locking import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(60)
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, code: str = HOLD) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def ended():
    """Processes whose whole group is ended after the test."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_folder_that_another_process_holds_is_taken(tmp_path, ended):
    ended.append(holder(tmp_path))
    with pytest.raises(FolderTaken) as error, locked(tmp_path):
        pass
    assert error.value.folder == tmp_path and error.value.process == str(ended[0].pid)
    ended[0].communicate("")
    with locked(tmp_path):
        pass


def test_the_lock_dies_with_its_process_even_where_that_has_forked(tmp_path, ended):
    ended.append(holder(tmp_path, HOLD_AND_FORK))
    os.kill(ended[0].pid, signal.SIGKILL)
    ended[0].wait()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path):
        pass


def test_a_lock_that_is_let_go_in_the_same_moment_is_not_taken_for_the_folders(
    tmp_path, monkeypatch
):
    opened, really_lock = [], fcntl.lockf

    def lock_what_is_gone(descriptor: int, *how: int) -> None:
        if not opened:
            (tmp_path / LOCK).unlink()
        opened.append(descriptor)
        really_lock(descriptor, *how)

    monkeypatch.setattr(fcntl, "lockf", lock_what_is_gone)
    with locked(tmp_path):
        assert len(opened) == 2
        assert os.path.samestat((tmp_path / LOCK).stat(), os.fstat(opened[-1]))


def test_a_folder_is_made_and_free_again_afterwards(tmp_path):
    folder = tmp_path / "runs" / "one"
    for _ in range(2):
        with locked(folder):
            assert (folder / LOCK).is_file()
        assert list(folder.iterdir()) == []


def test_a_drive_without_locks_is_used_and_said(tmp_path, monkeypatch, caplog):
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with locked(tmp_path):
        pass
    assert f"{tmp_path} cannot be locked (Operation not supported)" in caplog.text


def test_threads_and_processes_take_turns_and_a_killed_one_gives_its_turn_up(tmp_path, ended):
    path, inside = tmp_path / "turn", []

    def work(number):
        with in_turn(path):
            inside.append(number)
            time.sleep(0.02)
            inside.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 8 and all(a == b for a, b in zip(inside[::2], inside[1::2], strict=True))
    code = HOLD.replace("locked(Path(sys.argv[1]))", "in_turn(Path(sys.argv[1]))")
    ended.append(holder(path, code.replace("import locked", "import in_turn")))
    waiting = threading.Thread(target=work, args=(9,))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and inside[-1] != 9
    os.killpg(ended[0].pid, signal.SIGKILL)
    waiting.join(30)
    assert inside[-2:] == [9, 9]
