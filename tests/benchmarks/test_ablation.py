"""The ablation end to end on a handful of pictures, and what its report says of results."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from PIL import Image

from benchmarks.ablation import compare, report
from benchmarks.ablation.anchors import REAL
from benchmarks.ablation.arms import (
    ALIGNED,
    ARMS,
    FULL,
    NO_ALIGNMENT,
    REFERENCES,
    UNALIGNED,
    bundled_stack,
    stack_of,
)
from benchmarks.ablation.compare import compare as compare_results
from benchmarks.ablation.measure_arms import last_errors
from benchmarks.ablation.measuring import Measures
from benchmarks.ablation.plan import Plan
from benchmarks.ablation.report import as_markdown
from benchmarks.ablation.results import Curve, Result, Results, read_results, write_results
from benchmarks.ablation.running import run
from benchmarks.ablation.tables import differences, results_table
from benchmarks.ablation.training_runs import (
    TrainingFailed,
    adapter_settings,
    codec_file,
    run_process,
)
from davae_core.transformer.adapter import read_adapter
from training.dit.config import DitTrainingConfig
from training.errors import TrainingError
from training.mini.pictures import write_photograph_crops
from training.settings.yaml_config import flatten, read_config
from training.vae.config import VaeTrainingConfig

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "benchmarks" / "ablation"
CONFIGS = ROOT / "training" / "configs"


def made_up(fd: float, worse: float = 1.0) -> Results:
    """Two arms of three seeds, the second `worse` by the distance, and one reference."""
    full = [Result(seed, fd + 0.1 * seed, 0.9, 0.5, 0.2, 0.3) for seed in range(3)]
    second = [Result(seed, fd + worse + 0.11 * seed, 0.8, 0.5, 0.2, 0.4) for seed in range(3)]
    base = [Result(seed, 9.0 + seed, 0.95, 0.1) for seed in range(3)]
    curves = [Curve(seed, (1, 2), (0.5, 0.2), (0.9, 0.3)) for seed in range(3)]
    return Results(
        protocol=Plan().protocol(),
        arms={FULL: full, NO_ALIGNMENT: second, REFERENCES[0].name: base},
        curves={FULL: curves, NO_ALIGNMENT: curves},
        anchors={REAL: Measures(1.0, 1.0, 1.0)},
    )


def test_every_arm_is_trained_with_one_thing_changed(tmp_path):
    def trained_with(arm):
        wanted = adapter_settings(tmp_path, bundled_stack(), arm, seed=0, steps=600)
        return flatten(read_config(DitTrainingConfig, CONFIGS / "mini_adapter.yaml", tuple(wanted)))

    own = {"data.caches", "model.vae", "validation.cache", "output.folder"}
    full = trained_with(ARMS[0])
    for arm in ARMS:
        different = {key for key, value in trained_with(arm).items() if value != full[key]} - own
        assert len(different) + (arm.codec != ALIGNED) == (arm.name != FULL), (arm, different)


def test_the_aligned_codec_has_the_miniatures_own_weight():
    config = read_config(VaeTrainingConfig, CONFIGS / "mini_davae.yaml")
    assert config.loss.alignment.weight == ALIGNED.weight and UNALIGNED.weight == 0.0


def test_the_aligned_codec_is_the_stacks_own(tmp_path):
    stack = bundled_stack()
    assert codec_file(tmp_path, stack, ALIGNED) == stack.davae
    assert len({codec_file(tmp_path, stack, codec) for codec in Plan().codecs()}) == 2


def test_a_plan_has_every_arm_on_the_same_seeds():
    plan = Plan()
    assert len(plan.seeds) >= 3
    assert {seed for arm, seed in plan.adapters() if arm.name == FULL} == set(plan.seeds)
    assert len(plan.adapters()) == len(plan.arms) * len(plan.seeds)


@pytest.mark.usefixtures("at_root")
def test_a_tiny_run_trains_draws_measures_and_does_nothing_twice(tmp_path, capsys):
    photographs = tmp_path / "photographs"
    write_photograph_crops(photographs, 2, 64, 0)
    unaligned = next(arm for arm in ARMS if arm.name == NO_ALIGNMENT)
    plan = Plan(
        arms=(unaligned,),
        references=(),
        anchors=(REAL,),
        seeds=(0,),
        scenes=2,
        held_out=1,
        steps=2,
        pictures=3,
        codec_settings=(
            f"data.train=[{photographs}]",
            "data.shares=[1.0]",
            "data.crop=64",
            "train.steps=1",
            "train.statistics_samples=2",
            "validation.folders=[]",
        ),
        adapter_settings=("train.batch_size=2", "output.log_every=1"),
    )
    out = tmp_path / "out"
    written = run(out, None, tmp_path, plan, jobs=1)
    results = read_results(written)
    (found,) = results.arms[NO_ALIGNMENT]
    assert found.fd > 0 and 0 <= found.prompt_accuracy <= 1 and found.sharpness > 0
    assert results.curves[NO_ALIGNMENT][0].step[-1] == 2
    assert results.anchors[REAL].prompt_accuracy == 1.0
    adapter = read_adapter(out / "adapters" / f"{NO_ALIGNMENT}_0" / "adapter.safetensors")
    assert torch.isfinite(torch.cat([edge.flatten() for edge in adapter.edges.values()])).all()

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    run(out, None, tmp_path, plan, jobs=1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == times
    with pytest.raises(TrainingError, match="ablation:steps is 3"):
        run(out, None, tmp_path, replace(plan, steps=3), jobs=1)

    to, images = tmp_path / "report", tmp_path / "images"
    # The report's arms are all in the file or left out of it: a run of one arm has no differences to the full method.
    assert report.main([str(out), "--to", str(to), "--images", str(images)]) == 0
    assert unaligned.title in capsys.readouterr().out
    assert Image.open(images / "ablation.png").size[0] > 800
    assert Image.open(images / "ablation_pictures.png").height > 256


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_process_that_fails_names_its_log(tmp_path):
    with pytest.raises(TrainingFailed, match=r"said\.txt"):
        run_process(tmp_path / "said.txt", ["-c", "raise SystemExit('no such arm')"])
    assert "no such arm" in (tmp_path / "said.txt").read_text()


def test_another_stack_is_read_under_the_bundled_names(tmp_path):
    assert stack_of(tmp_path).transformer == tmp_path / bundled_stack().transformer.name


def test_results_survive_the_file(tmp_path):
    write_results(tmp_path / "results.json", made_up(3.0))
    assert read_results(tmp_path / "results.json") == made_up(3.0)
    listed = json.loads((tmp_path / "results.json").read_text())["arms"]
    assert listed[FULL][1] == {
        "seed": 1,
        "fd": 3.1,
        "prompt_accuracy": 0.9,
        "sharpness": 0.5,
        "base_error": 0.2,
        "detail_error": 0.3,
    }


def test_the_table_gives_means_with_their_range_and_the_differences_pair_seeds():
    results = made_up(3.0)
    assert "| full method | 3.10 (3.00 .. 3.20) | 0.900 (0.900 .. 0.900) |" in results_table(
        results
    )
    assert differences(results, NO_ALIGNMENT, "fd") == pytest.approx([1.0, 1.01, 1.02])


def test_a_run_like_the_committed_one_is_within_its_spreads():
    other = made_up(3.1, worse=1.001)
    listed = compare_results(made_up(3.0), other)
    assert len(listed) == 7 and all(line.apart <= compare.LIMIT for line in listed)


def test_another_codecs_detail_error_is_not_compared():
    listed = compare_results(made_up(3.0), made_up(3.0))
    measures = [line.measure for line in listed if line.arm == NO_ALIGNMENT]
    assert measures == ["fd", "prompt_accuracy", "sharpness", "base_error"]


def test_a_run_with_another_order_is_told(tmp_path, capsys):
    committed, other = tmp_path / "committed.json", tmp_path / "other.json"
    write_results(committed, made_up(3.0))
    write_results(other, made_up(3.0, worse=-1.0))
    assert compare.main([str(other), "--committed", str(committed)]) == 1
    said = capsys.readouterr().out
    assert "* no_alignment             fd" in said and "6 of 7 differences" in said
    assert compare.main([str(committed), "--committed", str(committed)]) == 0


def test_a_run_that_has_not_come_far_cannot_be_compared(tmp_path, capsys):
    whole, cut = tmp_path / "whole.json", tmp_path / "cut.json"
    write_results(whole, made_up(3.0))
    write_results(cut, replace(made_up(3.0), arms={FULL: made_up(3.0).arms[FULL][:1]}))
    assert compare.main([str(cut), "--committed", str(whole)]) == 1
    assert "lacks two seeds of no_alignment" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"arms": {"full": [{"sead": 0}]}}'])
def test_a_file_without_results_is_named(tmp_path, capsys, text):
    (tmp_path / "other.json").write_text(text)
    assert (
        compare.main([str(tmp_path / "other.json"), "--committed", str(tmp_path / "other.json")])
        == 1
    )
    assert "other.json holds no results" in capsys.readouterr().err


def test_an_adapter_that_was_not_validated_at_its_end_is_refused(tmp_path):
    lines = [{"event": "validation", "step": 5, "base": 1.0}, {"event": "train", "step": 6}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(TrainingError, match="no validation of step 6"):
        last_errors(tmp_path)


def test_the_committed_table_is_that_of_the_committed_results():
    results = read_results(COMMITTED / "results.json")
    assert (COMMITTED / "results.md").read_text(encoding="utf-8") == as_markdown(results)
    for arm in ARMS:
        assert len(results.arms[arm.name]) >= 3, arm.name


def test_the_committed_table_stands_on_the_page_on_the_ablation():
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    assert results_table(read_results(COMMITTED / "results.json")) in page


def error_in_training(arm, part, step):
    """The mean over the seeds of the committed errors of the 20 steps up to `step`, as the page gives it."""
    curves = read_results(COMMITTED / "results.json").curves[arm]
    at = curves[0].step.index(step)
    return f"{mean(getattr(curve, part)[at] for curve in curves):.3f}"


@pytest.mark.parametrize(
    ("said", "other", "part", "step"),
    [
        ("is {} with it and {} without", "no_zero_init", "base", 20),
        ("is gone ({} and {})", "no_zero_init", "base", 100),
        ("is {} with it and {} without", "no_schedule", "base", 100),
        ("pays with time: {} against {}", "no_schedule", "detail", 100),
    ],
)
def test_the_committed_curves_give_the_errors_on_the_page(said, other, part, step):
    page = " ".join((ROOT / "docs" / "ablation.md").read_text(encoding="utf-8").split())
    assert said.format(*(error_in_training(arm, part, step) for arm in (FULL, other))) in page


def test_the_committed_second_run_contradicts_the_first_nowhere_beyond_the_limit():
    committed, again = (
        read_results(COMMITTED / f"{name}.json") for name in ("results", "retrained")
    )
    assert again.arms.keys() == committed.arms.keys()
    listed = compare_results(committed, again)
    assert all(line.apart <= compare.LIMIT for line in listed)
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    assert compare.comparison_table(listed) in page
