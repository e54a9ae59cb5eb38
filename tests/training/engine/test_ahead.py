"""Files are brought before their turn and removed after it, and those stay that workers are at already."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from training.engine.ahead import FilesAhead

PER_WINDOW = 2


@dataclass(frozen=True)
class Numbered:
    """A file of each window, and two batches in it."""

    folder: Path

    def window_of(self, number: int) -> int:
        return number // PER_WINDOW

    def files_of(self, window: int) -> list[Path]:
        return [self.folder / f"{window:03d}"]

    def bring(self, file: Path) -> None:
        file.touch()

    def let_go(self, kept: Collection[Path]) -> None:
        for file in self.folder.iterdir():
            if file not in kept:
                file.unlink()


def until(found: Path) -> None:
    deadline = time.monotonic() + 60
    while not found.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("reach", [0, 7])
def test_this_window_the_next_and_what_workers_are_at_are_here(tmp_path: Path, reach: int) -> None:
    data = Numbered(tmp_path)
    brought: list[Path] = []
    for number in FilesAhead(data).follow(iter(range(12)), 0, behind=0, reach=reach):
        window = data.window_of(number)
        for near in range(window, max(window + 1, data.window_of(number + reach)) + 1):
            until(data.files_of(near)[0])
        # What a worker brought that is as far ahead as it may be was not removed since.
        assert all(file.exists() for file in brought if int(file.name) >= window)
        (worked_at,) = data.files_of(data.window_of(number + reach))
        data.bring(worked_at)
        brought.append(worked_at)
    # Of windows that are long past nothing is left.
    assert min(int(file.name) for file in tmp_path.iterdir()) > 2


def test_what_the_last_step_reads_is_not_removed_under_it(tmp_path: Path) -> None:
    data = Numbered(tmp_path)
    for number in FilesAhead(data).follow(iter(range(12)), 0, behind=2, reach=0):
        for file in data.files_of(data.window_of(max(0, number - 2))):
            until(file)
