"""The ablation end to end on a handful of pictures, and what its report says of results."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from PIL import Image

from benchmarks.ablation import __main__ as command
from benchmarks.ablation import compare, report
from benchmarks.ablation.anchors import REAL, through
from benchmarks.ablation.arms import (
    ALIGNED,
    ARMS,
    BASE_UPSAMPLED,
    DETAIL,
    FULL,
    JOINT_ARMS,
    NO_ALIGNMENT,
    PACKED,
    REFERENCES,
    TITLES,
    UNALIGNED,
    detail,
    light,
)
from benchmarks.ablation.compare import compare as compare_results
from benchmarks.ablation.groups import GROUPS
from benchmarks.ablation.measure_arms import finished_seeds, last_errors
from benchmarks.ablation.measuring import Measures
from benchmarks.ablation.plan import Plan
from benchmarks.ablation.report import as_markdown
from benchmarks.ablation.results import Curve, Result, Results, read_results, write_results
from benchmarks.ablation.running import Ablation
from benchmarks.ablation.stack import bundled_stack, stack_of
from benchmarks.ablation.tables import (
    anchors_table,
    compares,
    differences,
    group_table,
    shown_groups,
)
from benchmarks.ablation.training_runs import (
    RECIPES,
    TrainingFailed,
    adapter_settings,
    codec_file,
    make_codec,
    run_process,
)
from davae_core.codec.files import read_codec_file
from davae_core.files import read_safetensors
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
    full = [told(seed, fd + 0.1 * seed, 0.9, 0.5, 0.2, 0.3) for seed in range(3)]
    second = [told(seed, fd + worse + 0.11 * seed, 0.8, 0.5, 0.2, 0.4) for seed in range(3)]
    base = [Result(seed, 9.0 + seed, 0.95, 0.1) for seed in range(3)]
    curves = [Curve(seed, (1, 2), (0.5, 0.2), (0.9, 0.3)) for seed in range(3)]
    return Results(
        protocol=Plan().protocol(),
        arms={FULL: full, NO_ALIGNMENT: second, BASE_UPSAMPLED: base},
        curves={FULL: curves, NO_ALIGNMENT: curves},
        anchors={REAL: Measures(1.0, 1.0, 1.0)},
    )


def told(seed, fd, accuracy, sharpness, base_error, detail_error):
    return Result(seed, fd, accuracy, sharpness, base_error=base_error, detail_error=detail_error)


def group(name):
    return next(found for found in GROUPS if found.name == name)


def trained_with(folder, adapter):
    wanted = adapter_settings(folder, bundled_stack(), adapter, seed=0, steps=600)
    return flatten(read_config(DitTrainingConfig, RECIPES[adapter.mode], tuple(wanted)))


@pytest.mark.parametrize("found", GROUPS[1:], ids=lambda found: found.name)
def test_every_adapter_differs_in_one_thing_from_its_groups_reference(tmp_path, found):
    own = {"data.caches", "model.vae", "validation.cache", "output.folder"}
    adapters = {arm.name: arm.adapter for arm in ARMS}
    reference = adapters[found.reference]
    beside = trained_with(tmp_path, reference)
    for name in found.arms:
        if name == detail("own_levels"):
            continue
        settings = trained_with(tmp_path, adapters[name])
        different = {key for key, value in settings.items() if value != beside[key]} - own
        other_codec = adapters[name].codec != reference.codec
        assert len(different) + other_codec == (name != found.reference), (name, different)


def test_a_light_arm_differs_from_its_strong_one_by_the_rate_alone(tmp_path):
    by_name = {arm.name: arm.adapter for arm in ARMS}
    for arm in JOINT_ARMS:
        strong, weak = (
            trained_with(tmp_path, by_name[name]) for name in (arm.name, light(arm.name))
        )
        different = {key for key, value in weak.items() if value != strong[key]}
        assert different == {"optimizer.learning_rate", "output.folder"}
        assert weak["optimizer.learning_rate"] < strong["optimizer.learning_rate"] / 5


def test_an_adapter_of_own_levels_is_trained_once_and_drawn_in_both_ways():
    joint, apart = (
        next(arm for arm in ARMS if arm.name == name)
        for name in ("own_levels", detail("own_levels"))
    )
    assert joint.adapter == apart.adapter and (joint.drawn, apart.drawn) == ("joint", "detail")
    assert Plan(arms=(joint, apart)).adapters() == [joint.adapter]


def test_every_arm_and_reference_stands_in_a_group_and_every_group_has_its_reference():
    assert {name for found in GROUPS for name in found.arms} == set(TITLES)
    assert len(TITLES) == len(ARMS) + len(REFERENCES)
    assert all(found.arms[0] == found.reference for found in GROUPS)


def test_the_aligned_codec_has_the_miniatures_own_weight():
    config = read_config(VaeTrainingConfig, CONFIGS / "mini_davae.yaml")
    assert config.loss.alignment.weight == ALIGNED.weight and UNALIGNED.weight == 0.0


def test_the_aligned_codec_is_the_stacks_own(tmp_path):
    stack = bundled_stack()
    assert codec_file(tmp_path, stack, ALIGNED) == stack.davae
    assert len({codec_file(tmp_path, stack, codec) for codec in Plan().codecs()}) == 6


def test_a_part_of_the_ablation_is_chosen_by_the_names_of_arms_and_groups():
    plan = command.plan_of(["light", DETAIL, BASE_UPSAMPLED], seeds=[3, 4])
    assert {arm.name for arm in plan.arms} == {DETAIL, *(light(arm.name) for arm in JOINT_ARMS)}
    assert [found.name for found in plan.references] == [BASE_UPSAMPLED] and plan.seeds == (3, 4)
    assert command.plan_of(None) == Plan()
    with pytest.raises(TrainingError, match="no arm or group fool"):
        command.plan_of(["fool"])


def test_bases_are_drawn_only_where_something_is_drawn_on_them():
    assert not command.plan_of(["joint"]).draws_on_bases()
    assert command.plan_of([DETAIL]).draws_on_bases()
    assert command.plan_of(["base_of_detail"]).draws_on_bases()


def test_the_list_shows_every_arm_under_its_group(capsys):
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(found.title in said for found in GROUPS) and f"  {light(FULL)} " in said


def tiny(photographs, **changes) -> Plan:
    """Three pictures of one seed, two steps of training."""
    settings = (
        f"data.train=[{photographs}]",
        "data.shares=[1.0]",
        "data.crop=64",
        "train.steps=1",
        "train.statistics_samples=2",
        "validation.folders=[]",
    )
    plan = Plan(
        references=(),
        seeds=(0,),
        scenes=2,
        held_out=1,
        steps=4,
        pictures=3,
        codec_settings=settings,
        adapter_settings=("train.batch_size=2", "output.log_every=1"),
    )
    return replace(plan, **changes)


def arms(*names):
    return tuple(arm for arm in ARMS if arm.name in names)


@pytest.mark.usefixtures("at_root")
def test_a_tiny_run_trains_draws_measures_and_does_nothing_twice(tmp_path, capsys):
    photographs = tmp_path / "photographs"
    write_photograph_crops(photographs, 2, 64, 0)
    names, alone = (NO_ALIGNMENT, detail(NO_ALIGNMENT)), REFERENCES[-1]
    plan, out = tiny(photographs, arms=arms(*names), references=(alone,)), tmp_path / "out"
    results = read_results(Ablation(out, plan, tmp_path).run(jobs=2))
    assert set(results.arms) == {*names, alone.name}
    (joint,), (apart,) = (results.arms[name] for name in names)
    assert joint.fd > 0 and 0 <= joint.prompt_accuracy <= 1 and joint.sharpness > 0
    assert joint.score > 0 and joint.codec_score > 0
    assert joint.base_error is not None and apart.base_error is None
    curves = [results.curves[name][0] for name in names]
    assert curves[0].step[-1] == 4 == len(curves[0].base) and curves[1].base == ()
    assert results.anchors[REAL].prompt_accuracy == 1.0
    assert results.anchors[through(UNALIGNED)].score > 0
    adapter = read_adapter(out / "adapters" / f"{NO_ALIGNMENT}_0" / "adapter.safetensors")
    assert torch.isfinite(torch.cat([edge.flatten() for edge in adapter.edges.values()])).all()
    (bases,) = (out / "bases").iterdir()
    assert read_safetensors(bases)[0]["bases"].shape == (3, 16, 16, 16)

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    Ablation(out, plan, tmp_path).run(jobs=1)
    # Another part of the ablation in the same folder keeps what is there.
    kept = read_results(Ablation(out, replace(plan, seeds=()), tmp_path).run(jobs=1))
    assert kept.arms == results.arms
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == times
    with pytest.raises(TrainingError, match="ablation:steps is 3"):
        Ablation(out, replace(plan, steps=3), tmp_path).run(jobs=1)

    to, images = tmp_path / "report", tmp_path / "images"
    # The report's arms are all in the file or left out of it: without its reference a group has no differences.
    assert report.main([str(out), "--to", str(to), "--images", str(images)]) == 0
    said = capsys.readouterr().out
    assert TITLES[NO_ALIGNMENT] in said and "score beside the codec" in said
    assert Image.open(images / "ablation.png").size[0] > 800
    assert Image.open(images / "ablation_curves_joint.png").size[0] > 800
    assert Image.open(images / "ablation_pictures_joint.png").height > 256


@pytest.mark.usefixtures("at_root")
def test_a_packed_codec_is_packed_from_the_codecs_pictures(tmp_path):
    pictures, out, stack = tmp_path / "pictures", tmp_path / "out", bundled_stack()
    for part in ("scenes", "photographs"):
        write_photograph_crops(pictures / "train" / part, 2, 256, 0)
    make_codec(out, stack, PACKED[1], pictures, ())
    assert read_codec_file(codec_file(out, stack, PACKED[1]))[0].layout.detail_channels == 32


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
    table = group_table(results, group("joint"))
    assert "| full method | 3.10 (3.00 .. 3.20) | 0.900 (0.900 .. 0.900) |" in table
    assert TITLES[BASE_UPSAMPLED] not in table
    assert differences(results, NO_ALIGNMENT, FULL, "fd") == pytest.approx([1.0, 1.01, 1.02])


def test_measures_that_were_not_taken_have_no_column():
    results = made_up(3.0)
    assert "speckle" not in as_markdown(results)
    judged = replace(results.arms[FULL][0], speckle=2.5)
    taken = as_markdown(replace(results, arms={**results.arms, FULL: [judged]}))
    assert "| speckle |" in taken and "| 2.50 (2.50 .. 2.50) |" in taken


def test_the_report_says_how_many_seeds_there_were_and_leaves_out_groups_without_arms():
    results = made_up(3.0)
    assert "Seeds per arm: 3." in as_markdown(results)
    cut = replace(results, arms={**results.arms, NO_ALIGNMENT: results.arms[NO_ALIGNMENT][:1]})
    assert "Seeds per arm: 1 to 3." in as_markdown(cut)
    assert [found.name for found in shown_groups(results)] == ["ways", "joint"]


def test_a_seed_is_finished_when_its_own_result_is_there(tmp_path):
    (tmp_path / "results").mkdir()
    for name in (f"{FULL}_2", f"{FULL}_10", f"{light(FULL)}_3"):
        (tmp_path / "results" / f"{name}.json").touch()
    assert finished_seeds(tmp_path, FULL) == [2, 10]


def test_a_detail_error_is_compared_within_one_codec_only():
    assert not compares(NO_ALIGNMENT, FULL, "detail_error")
    assert compares(DETAIL, FULL, "detail_error") and compares(NO_ALIGNMENT, FULL, "base_error")


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
    assert f"lacks two seeds of {BASE_UPSAMPLED}" in capsys.readouterr().err


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
    for arm in JOINT_ARMS:
        assert len(results.arms[arm.name]) >= 3, arm.name


def test_the_committed_tables_stand_on_the_page_on_the_ablation():
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    results = read_results(COMMITTED / "results.json")
    for found in shown_groups(results):
        assert group_table(results, found) in page, found.name
    assert anchors_table(results) in page


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
