"""The curves of a run, from logs that the trainer's own tracker wrote."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from training.engine.tracking import Tracker

SCRIPT = Path(__file__).parents[2] / "scripts" / "training_curves.py"


@pytest.fixture(scope="module")
def curves():
    spec = importlib.util.spec_from_file_location("training_curves", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    tracker = Tracker(folder, tensorboard=False, first_step=0)
    for step in range(1, 41):
        terms = {"loss": 1.0, "base": 0.2, "detail": 2.0 / step, "detail_weight": 0.5}
        tracker.write("train", step, {**terms, "learning_rate": 1e-3})
    tracker.write("validation", 40, {"velocity": 0.2, "base": 0.125, "detail": 0.25})
    return folder


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    tracker = Tracker(folder, tensorboard=False, first_step=0)
    tracker.write("train", 10, {"loss": 1.5, "learning_rate": 1e-3})
    return folder


def test_runs_of_both_kinds_are_drawn_side_by_side(curves, base, adapter, tmp_path, capsys):
    target = tmp_path / "curves.png"
    assert curves.main([str(base), str(adapter), "-o", str(target)]) == 0
    with Image.open(target) as picture:
        assert picture.width > picture.height
    assert "| 40 | 0.125 | 0.200 | 0.250 | 0.051 |" in capsys.readouterr().out


def test_a_detail_pass_has_the_details_curve_alone(curves, tmp_path, capsys):
    tracker = Tracker(tmp_path, tensorboard=False, first_step=0)
    for step in range(1, 41):
        terms = {"loss": 0.5, "detail": 0.5, "learning_rate": 1e-3}
        tracker.write("train", step, terms)
    tracker.write("validation", 40, {"detail": 0.25})
    assert curves.main([str(tmp_path), "-o", str(tmp_path / "curves.png")]) == 0
    assert "| 40 | 0.250 | 0.500 |" in capsys.readouterr().out


def test_a_line_that_is_still_being_written_is_left_out(curves, base):
    with (base / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    assert curves.read_run(base).curves["train/loss"].steps == [10]


def test_the_running_mean_keeps_what_is_constant(curves):
    constant = curves.smooth(curves.Curve(list(range(100)), [3.0] * 100))
    assert constant.values == pytest.approx([3.0] * 100)
    spike = curves.smooth(curves.Curve(list(range(100)), [0.0] * 50 + [5.0] + [0.0] * 49))
    assert spike.values[50] == pytest.approx(1.0) and spike.values[47] == 0


def test_what_holds_no_curves_is_refused_in_one_sentence(curves, tmp_path, capsys):
    Tracker(tmp_path, tensorboard=False, first_step=0).write("train", 1, {"l1": 0.5})
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert curves.main([str(folder), "-o", str(tmp_path / "curves.png")]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "curves.png").exists()
