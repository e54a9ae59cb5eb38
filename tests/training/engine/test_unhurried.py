"""Processes wait for one that works, and not for one that died or failed."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.training.two_processes import on_two_processes
from training.engine.processes import make_state
from training.engine.unhurried import unhurried
from training.errors import TrainingError

SILENCE = 3.0


def work_longer_than_the_silence(folder: Path) -> None:
    state = make_state("cpu")
    with unhurried(SILENCE):
        if state.is_main_process:
            time.sleep(SILENCE + 2)
            (folder / "done").touch()
    assert (folder / "done").exists()
    # A second time, and the other one is the slower.
    with unhurried(SILENCE):
        if not state.is_main_process:
            time.sleep(0.2)
            (folder / "done").unlink()
    assert not (folder / "done").exists()


def test_who_works_is_waited_for_however_long_it_takes(tmp_path: Path) -> None:
    on_two_processes(work_longer_than_the_silence, tmp_path)


def stand_still(folder: Path) -> None:
    state = make_state("cpu")
    if state.is_main_process:
        words = r"Process 1 gave no sign of life for a minute"
        with pytest.raises(TrainingError, match=words), unhurried(SILENCE):
            pass
        os.kill(int((folder / "pid").read_text()), signal.SIGCONT)
        return
    with unhurried(SILENCE):
        (folder / "pid").write_text(str(os.getpid()))
        # As a machine that lost its network: neither its thread nor its end is heard of.
        os.kill(os.getpid(), signal.SIGSTOP)


def test_who_stands_still_is_given_up(tmp_path: Path) -> None:
    on_two_processes(stand_still, tmp_path)


def fail_in_one() -> None:
    state = make_state("cpu")
    words = "It fails." if state.is_main_process else r"Another process failed: .* run the same"
    with pytest.raises(TrainingError, match=words), unhurried(600):
        if state.is_main_process:
            raise TrainingError("It fails.")
    # The main process keeps the store that the other one asks.
    time.sleep(1.0 if state.is_main_process else 0.0)


def test_when_one_fails_the_others_end_at_once() -> None:
    on_two_processes(fail_in_one)


def test_alone_nothing_is_waited_for() -> None:
    with unhurried():
        pass
