"""The class-conditional miniature's benchmark, from pictures to a verdict, at its smallest."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.classes import judging
from benchmarks.classes.__main__ import ROWS, main
from benchmarks.classes.judging import judge_drawn
from benchmarks.classes.pictures import CLASSES, SIDE, drawn, scene
from davae_core.lightning.files import read_class_model
from tests.training.conftest import fresh_accelerate  # noqa: F401


def test_the_checker_finds_every_class_in_pictures_that_show_it():
    verdict = judge_drawn(2 * len(CLASSES))
    assert verdict.coloured == verdict.formed == verdict.hatched == verdict.pictures == 24


def test_smeared_hatching_passes_the_checker_and_has_weaker_lines():
    def smeared(label, number):
        small = Image.fromarray(drawn(label, number)).resize((SIDE // 2,) * 2)
        return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    sharp, soft = (
        judging.judged((label, draw(label, 1)) for label in range(len(CLASSES)))
        for draw in (drawn, smeared)
    )
    assert soft.hatched >= 10
    assert soft.lines < 0.6 * sharp.lines


def test_a_picture_of_nothing_has_no_lines():
    assert judging.judged([(0, np.full((SIDE, SIDE, 3), 140, np.uint8))]).lines is None


def test_a_picture_is_a_function_of_class_and_number():
    assert scene(3, 5) == scene(3, 5) != scene(3, 6)
    assert drawn(0, 0).shape == (SIDE, SIDE, 3) and np.array_equal(drawn(0, 0), drawn(0, 0))


@pytest.mark.parametrize("samples", [2])
def test_every_stage_runs_and_all_rows_are_judged(tmp_path, capsys, samples):
    sizes = ["--pictures", "1", "--base-steps", "1", "--steps", "1", "--samples", str(samples)]
    assert main([str(tmp_path), *sizes]) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["verdicts"].keys() == ROWS.keys()
    assert all(verdict["pictures"] == samples for verdict in told["verdicts"].values())
    sheet = Image.open(tmp_path / "pictures.png")
    assert sheet.height > 3 * SIDE and sheet.width > samples * SIDE
    assert capsys.readouterr().out == (tmp_path / "results.md").read_text()
    wide = read_class_model(tmp_path / "run_da" / "da.safetensors")
    assert (wide.sizes.channels, wide.sizes.classes, wide.sizes.side) == (32, 12, 8)
