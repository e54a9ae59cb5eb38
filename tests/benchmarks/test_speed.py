"""What the codec takes beside ComfyUI's stock VAE, counted in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.floors import Rates
from benchmarks.speed.report import beside
from benchmarks.speed.turns import in_turns

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import json
from benchmarks.speed.codec import counts
found = counts((1024, 2048))
print(json.dumps({half: {side: {who: vars(count) for who, count in each.items()}
      for side, each in sides.items()} for half, sides in found.items()}))
"""


@pytest.fixture(scope="module")
def found():
    """Counts of both halves at 1024 and 2048 pixels."""
    # ComfyUI's own Python: its modules are imported.
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-c", COUNT], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("side", ["1024", "2048"])
def test_a_decode_takes_little_more_than_half_of_the_stock_memory_and_fewer_operations(found, side):
    ours, stock = found["decode"][side]["ours"], found["decode"][side]["stock"]
    assert ours["peak"] <= 0.55 * stock["peak"]
    assert ours["operations"] <= 0.88 * stock["operations"]


@pytest.mark.parametrize("side", ["1024", "2048"])
def test_an_encode_of_two_pictures_takes_less_memory_than_the_stock_one_of_one(found, side):
    ours, stock = found["encode"][side]["ours"], found["encode"][side]["stock"]
    assert ours["peak"] <= 0.8 * stock["peak"]
    assert ours["operations"] <= 1.3 * stock["operations"]


def test_the_stock_counts_are_those_of_a_whole_vae(found):
    stock = found["decode"]["1024"]["stock"]
    # Three pictures of the full size alive at once, two of them with 256 channels, in bfloat16.
    assert stock["peak"] == pytest.approx(5 * 128 * 1024**2 * 2, rel=0.01)
    assert 9e12 < stock["operations"] < 11e12


def test_ways_take_turns_after_a_round_that_does_not_count():
    order = []
    spent = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(each.seconds) for name, each in spent.items()} == {"a": 2, "b": 2}


def test_operations_and_the_most_bytes_are_those_of_the_way_itself():
    left, right = torch.randn(8, 16), torch.randn(16, 4)
    found = in_turns({"a": lambda: left @ right}, rounds=1)["a"]
    assert found.operations == 2 * 8 * 16 * 4
    assert found.peak == 8 * 4 * 4 or torch.cuda.is_available()


def test_a_floor_is_the_slower_of_arithmetic_and_reading():
    rates = Rates(operations=100.0, bytes=10.0)
    assert rates.floor(200, 5) == 2.0
    assert rates.floor(200, 50) == 5.0
    assert rates.floor(None, 5) is None


def test_a_run_is_only_set_beside_one_of_the_same_scale():
    way = {"seconds": [1.0], "peak_bytes": 4, "operations": 6, "floor_seconds": 1.0}
    case = {"part": "codec", "what": "decode", "side": 512, "batch": 1, "variant": ""}
    ratio = {"median": 0.5, "least": 0.5, "most": 0.5}
    before = {"scale": "small", "cases": [{**case, "ways": {"ours": way}, "ratio": ratio}]}
    ours = {**way, "peak_bytes": 2, "operations": 9}
    now = {
        "scale": "small",
        "cases": [{**case, "ways": {"ours": ours}, "ratio": {**ratio, "median": 0.4}}],
    }
    assert "| decode | 512 | 1 | 0.500x | 0.400x | 1.500x | 0.500x |" in list(beside(now, before))
    assert "Not comparable" in next(beside({**now, "scale": "large"}, before))


def test_a_run_writes_every_part_as_json(tmp_path):
    file = tmp_path / "results.json"
    small = ("--sides", "64", "--batches", "1", "--blocks", "1", "--rounds", "1", "--steps", "1")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    subprocess.run(
        [
            python,
            "-m",
            "benchmarks.speed",
            "--parts",
            "sampling",
            "pictures",
            "codec",
            "training",
            *small,
            "--out",
            file,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    found = json.loads(file.read_text())
    assert found["failed"] == []
    assert {case["part"] for case in found["cases"]} == {
        "sampling",
        "pictures",
        "codec",
        "training",
    }
    for case in found["cases"]:
        assert all(
            way["peak_bytes"] > 0 and min(way["seconds"]) > 0 for way in case["ways"].values()
        )
    (step,) = (case for case in found["cases"] if case["part"] == "sampling")
    # A quarter of the picture's tokens, beside the text's, which are the same.
    assert step["ways"]["ours"]["operations"] < step["ways"]["stock"]["operations"]
