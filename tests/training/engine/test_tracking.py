import json
import resource
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.engine.tracking import Tracker, read_log
from training.errors import TrainingError


def test_records_are_json_lines_in_order(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    tracker.write("train", 1, {"loss": 0.5})
    tracker.write("validation", 1, {"psnr": 20.0})
    tracker.write("train", 2, {"loss": 0.25})
    assert read_log(tmp_path, "train") == [
        {"event": "train", "step": 1, "loss": 0.5},
        {"event": "train", "step": 2, "loss": 0.25},
    ]


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    for step in range(1, 6):
        tracker.write("train", step, {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    tracker = Tracker(tmp_path, tensorboard=False, first_step=3)
    tracker.write("train", 4, {"loss": 2.0})
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()]
    assert steps == [1, 2, 3, 4]


def test_what_is_written_again_replaces_its_record(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    tracker.replace("export", 2, {"shift": 1.0})
    tracker.write("train", 3, {"loss": 0.5})
    tracker.replace("export", 2, {"shift": 2.0})
    assert [record["shift"] for record in read_log(tmp_path, "export")] == [2.0]
    assert tracker.has("train", 3) and not tracker.has("train", 2)


def test_a_full_disk_names_the_log(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    tracker.write("train", 1, {"loss": 0.5})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"log\.jsonl could not be written"):
            tracker.write("train", 2, {"loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=True, first_step=0)
    tracker.write("validation", 7, {"psnr": 20.0, "note": "text"})
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["validation/psnr"]
    assert [(event.step, event.value) for event in events.Scalars("validation/psnr")] == [(7, 20.0)]


def test_a_large_picture_is_shown_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 600)).save(tmp_path / "large.png")
    tracker = Tracker(tmp_path, tensorboard=True, first_step=0)
    tracker.show(5, {"full": tmp_path / "large.png"})
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (shown,) = events.Images("pictures/full")
    assert (shown.step, shown.width, shown.height) == (5, 2048, 410)


def test_wandb_that_is_not_installed_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules is how Python marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"output\.wandb is set, .*pip install wandb"):
        Tracker(tmp_path, tensorboard=False, first_step=0, wandb="project")


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    values = {"psnr": float("inf"), "parts": [float("nan"), 1.0], "loss": 0.5}
    tracker.write("train", 1, values)
    tracker.write("train", 2, {"loss": -float("inf")})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert first == {"event": "train", "step": 1, "psnr": None, "parts": [None, 1.0], "loss": 0.5}
    assert second["loss"] is None
