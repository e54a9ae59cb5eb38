"""What the codec takes beside ComfyUI's stock VAE, counted in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert {name: len(seconds) for name, seconds in spent.items()} == {"a": 2, "b": 2}
