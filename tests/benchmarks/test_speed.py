"""What ours takes beside ComfyUI's stock model and VAE, counted in a process of its own, and how runs are reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.case import Case, measured
from benchmarks.speed.floors import Rates
from benchmarks.speed.report import beside
from benchmarks.speed.scale import CPU
from benchmarks.speed.turns import in_turns

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("codec", "sampling", "pictures", "training")
COUNT = """
import json
from benchmarks.speed.arithmetic import gain_of, steps
from benchmarks.speed.codec import counts
found = counts((1024, 2048))
gains = {side: vars(gain_of(step, found["decode"][side])) for side, step in steps().items()}
print(json.dumps({"gains": gains, **{half: {side: {who: vars(count) for who, count in each.items()}
      for side, each in sides.items()} for half, sides in found.items()}}))
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


@pytest.mark.parametrize(("side", "operations"), [("1024", 0.88), ("2048", 0.9)])
def test_a_decode_takes_little_more_than_half_of_the_stock_memory_and_fewer_operations(
    found, side, operations
):
    ours, stock = found["decode"][side]["ours"], found["decode"][side]["stock"]
    assert ours["peak"] <= 0.55 * stock["peak"]
    # Attention, which is the same in both, has more of them the larger the picture is.
    assert ours["operations"] <= operations * stock["operations"]


@pytest.mark.parametrize("side", ["1024", "2048"])
def test_an_encode_of_two_pictures_takes_less_memory_than_the_stock_one_of_one(found, side):
    ours, stock = found["encode"][side]["ours"], found["encode"][side]["stock"]
    assert ours["peak"] <= 0.8 * stock["peak"]
    assert ours["operations"] <= 1.25 * stock["operations"]


def test_the_stock_counts_are_those_of_a_whole_vae(found):
    stock = found["decode"]["1024"]["stock"]
    # Three pictures of the full size alive at once, two of them with 256 channels, in bfloat16.
    assert stock["peak"] == pytest.approx(5 * 128 * 1024**2 * 2, rel=0.01)
    assert 9e12 < stock["operations"] < 11e12


@pytest.mark.parametrize(
    ("side", "sampling", "joint", "detail_pass"),
    [("1024", 4.5, 4.3, 3.7), ("2048", 7.8, 7.4, 6.4)],
)
def test_operations_let_pictures_be_as_much_faster_as_is_hoped_for(
    found, side, sampling, joint, detail_pass
):
    gain = found["gains"][side]
    assert sampling <= gain["sampling"] <= 1.05 * sampling
    assert joint <= gain["joint"] <= 1.05 * joint
    assert detail_pass <= gain["detail_pass"] <= 1.05 * detail_pass


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


def case_of(do, **changes):
    return Case("part", "what", 64, 1, {"ours": do}, {"ours": 40}, **changes)


RATES = Rates(operations=100.0, bytes=10.0)


@pytest.mark.parametrize("learns", [False, True])
def test_only_what_learns_has_gradients(learns):
    seen = []
    measured(case_of(lambda: seen.append(torch.is_grad_enabled()), learns=learns), 1, RATES)
    assert set(seen) == {learns}


def test_what_an_optimizer_keeps_belongs_to_the_bytes_of_a_step():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = torch.zeros(1000, requires_grad=True, device=device)
    optimizer = torch.optim.AdamW([values])

    def step():
        values.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    found = measured(case_of(step, learns=True), 1, RATES)["ways"]["ours"]
    # The gradient and two averages.
    assert found["peak_bytes"] >= 3 * values.nbytes


@pytest.mark.parametrize(("read", "seconds"), [(None, 4.0), ({"ours": 80}, 8.0)])
def test_a_case_reads_its_weights_once_or_as_often_as_it_says(read, seconds):
    found = measured(case_of(lambda: None, read=read), 1, RATES)
    assert found["ways"]["ours"]["floor_seconds"] == seconds
    assert found["ways"]["ours"]["weight_bytes"] == 40
    assert found["ratios"] == {}


def test_a_floor_is_the_slower_of_arithmetic_and_reading():
    assert RATES.floor(200, 5) == 2.0
    assert RATES.floor(200, 50) == 5.0
    assert RATES.floor(None, 5) is None


def run_of(ratio, spread=0.01, **ours):
    """A run with one case, whose ratio was so far up and down."""
    way = {"seconds": [1.0], "peak_bytes": 4, "operations": 6, "floor_seconds": 1.0, **ours}
    known = {"part": "codec", "what": "decode", "side": 512, "batch": 1, "variant": ""}
    found = {"median": ratio, "least": ratio - spread, "most": ratio + spread}
    case = {**known, "ways": {"ours": way, "stock": way}, "ratios": {"ours": found}}
    where = {"date": "2026-11-28", "machine": "a machine", "comfyui": "0.3.75", "scale": "small"}
    return {**where, "cases": [case]}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (run_of(0.5), "0.500x | 1.000x | 1.000x |  |"),
        (run_of(0.53), "0.530x | 1.000x | 1.000x |  |"),
        (run_of(0.4), "0.400x | 1.000x | 1.000x | faster |"),
        (run_of(0.6), "0.600x | 1.000x | 1.000x | slower |"),
        (run_of(0.6, spread=0.2), "0.600x | 1.000x | 1.000x |  |"),
        (run_of(0.5, peak_bytes=2, operations=9), "0.500x | 1.500x | 0.500x | more operations, less memory |"),
    ],
)  # fmt: skip
def test_beside_an_earlier_run_it_says_what_moved_beyond_its_turns(now, told):
    assert f"| decode | 512 | 1 | 0.500x | {told}" in list(beside(now, run_of(0.5)))


def test_a_run_is_only_set_beside_one_of_the_same_scale():
    assert "Not comparable" in next(beside({**run_of(0.5), "scale": "large"}, run_of(0.5)))


def test_the_committed_baseline_is_a_run_of_every_part_without_a_gpu():
    baseline = json.loads((ROOT / "benchmarks/speed/baseline.json").read_text())
    assert baseline["failed"] == []
    assert {case["part"] for case in baseline["cases"]} == {*PARTS}
    assert baseline["scale"] == CPU.in_words()


def test_a_run_writes_every_part_as_json(tmp_path):
    file = tmp_path / "results.json"
    small = ("--sides", "64", "--batches", "1", "--blocks", "1", "--rounds", "1", "--steps", "1")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    subprocess.run(
        [python, "-m", "benchmarks.speed", "--parts", *PARTS, *small, "--out", file],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    found = json.loads(file.read_text())
    # Where there is a GPU a variant is compiled, for which this machine may lack a compiler.
    assert [case for case in found["failed"] if case.get("variant") != "torch.compile"] == []
    assert {case["part"] for case in found["cases"]} == {*PARTS}
    for case in found["cases"]:
        assert all(
            way["peak_bytes"] > 0 and min(way["seconds"]) > 0 for way in case["ways"].values()
        )
    (step,) = (case for case in found["cases"] if case["part"] == "sampling")
    # A quarter of the picture's tokens, beside the text's, which are the same.
    assert step["ways"]["ours"]["operations"] < step["ways"]["stock"]["operations"]
