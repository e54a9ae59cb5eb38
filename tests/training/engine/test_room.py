"""The folder of what a run brings: this user's alone."""

from pathlib import Path

import pytest

from training.engine.room import make_room, run_room
from training.errors import TrainingError


def test_it_is_nobody_else_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = run_room("runs/a", str(tmp_path))
    make_room(room)
    make_room(room)
    assert room.stat().st_mode & 0o077 == 0
    monkeypatch.setattr("os.getuid", lambda: room.stat().st_uid + 1)
    with pytest.raises(TrainingError, match=r"belongs to another user: .*data\.downloads"):
        make_room(room)


def test_two_runs_have_two() -> None:
    assert run_room("runs/a", None) != run_room("runs/b", None)
