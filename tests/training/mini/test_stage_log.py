"""What a job of several stages remembers between its runs."""

import json
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.mini.stage_log import StageLog


def test_the_seconds_of_a_stage_add_up_over_runs(tmp_path: Path) -> None:
    for cpu, wall, finished in ((1.5, 3.0, False), (2.0, 4.0, True)):
        log = StageLog(tmp_path / "stages.json")
        log.charge(log.begin("first", {"steps": 3}), cpu, wall, finished)
    (record,) = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))
    assert record == {
        "name": "first", "cpu_seconds": 3.5, "wall_seconds": 7.0, "finished": True,
        "settings": {"steps": 3},
    }  # fmt: skip
    assert StageLog(tmp_path / "stages.json").total() == (3.5, 7.0)


def test_a_changed_setting_is_named_and_a_new_one_is_not_held_against_the_stage(
    tmp_path: Path,
) -> None:
    log = StageLog(tmp_path / "stages.json")
    log.begin("first", {"train.steps": 3})
    log.begin("first", {"train.steps": 3, "train.new": 1})
    with pytest.raises(TrainingError, match=r"first:train\.steps is 4, .* begun with 3"):
        log.begin("first", {"train.steps": 4})


def test_stages_after_one_that_is_done_again_are_open(tmp_path: Path) -> None:
    log = StageLog(tmp_path / "stages.json")
    for name in ("first", "second"):
        log.charge(log.begin(name, {}), 1.0, 1.0, finished=True)
    log.reopen(["second", "never begun"])
    assert [log.begin(name, {}).finished for name in ("first", "second")] == [True, False]


@pytest.mark.parametrize("text", ["{", '[{"nome": "first"}]', "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "stages.json").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"stages\.json is damaged: remove it"):
        StageLog(tmp_path / "stages.json")
