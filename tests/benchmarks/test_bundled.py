"""The bundled codec's report: its page is that of its numbers, and its measure of structure knows blur from grain."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.miniature.bundled import (
    PHOTOGRAPHS,
    SCENES,
    Scores,
    as_markdown,
    held_out_scenes,
    score,
    structure,
)
from benchmarks.miniature.thresholds import CODEC, FULL, HALF

HERE = Path(__file__).parents[2] / "benchmarks" / "miniature"
KEPT = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
FOUND = {
    name: {row: Scores(**one) for row, one in rows.items()} for name, rows in KEPT["scores"].items()
}


def test_the_committed_page_is_that_of_the_committed_numbers():
    page = (HERE / "results.md").read_text(encoding="utf-8")
    assert page == as_markdown(FOUND, KEPT["correlation"], KEPT["scenes"])


def test_the_committed_detail_is_worth_something_on_scenes_and_on_photographs():
    scenes, photographs = FOUND[SCENES], FOUND[PHOTOGRAPHS]
    assert scenes[CODEC].psnr > scenes[HALF].psnr + 5
    for rows in (scenes, photographs):
        assert rows[CODEC].structure > 1.4 * rows[HALF].structure
        assert rows[FULL].psnr > rows[CODEC].psnr > rows[HALF].psnr + 0.5
        assert rows[CODEC].ssim > rows[HALF].ssim


def test_scenes_come_in_all_formats_and_repeat():
    scenes = held_out_scenes(12)
    assert {tuple(picture.shape[-2:]) for picture in scenes.values()} == {
        (256, 256), (192, 288), (288, 192),
    }  # fmt: skip
    assert torch.equal(scenes["1001000"], held_out_scenes(1)["1001000"])


def test_structure_falls_with_blur_and_rises_with_noise():
    scenes = held_out_scenes(2)

    def blurred(picture):
        return F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)

    def noisy(picture):
        return picture + 0.2 * torch.randn(
            picture.shape, generator=torch.Generator().manual_seed(0)
        )

    same = score(scenes, lambda picture: picture)
    assert same.structure == 1.0 and same.ssim == pytest.approx(1.0)
    assert score(scenes, blurred).structure < 0.8 and score(scenes, noisy).structure > 1.2
    assert structure(next(iter(scenes.values()))) > 0
