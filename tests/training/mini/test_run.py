"""`python -m training mini` at a size of seconds: fails, is interrupted, goes on, and leaves files that draw."""

import contextlib
import io
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from davae_core import mini
from davae_core.codec.files import load_base_vae
from davae_core.files import write_safetensors
from davae_core.mini.text_encoder_files import load_text_encoder
from davae_core.pipeline import load_pipeline
from training.__main__ import main
from training.engine.tracking import read_log

pytestmark = pytest.mark.slow

STAGES = (
    "scenes", "pictures", "base_vae", "davae", "decoder", "text",
    "cache_base", "cache_base_val", "adapter_scenes", "cache_davae", "cache_davae_val", "transformer", "adapter",
    "detail", "style_scenes", "cache_style", "cache_style_val", "lora",
)  # fmt: skip
FILES = {
    path().name
    for path in (
        mini.davae_path, mini.clip_path, mini.transformer_path, mini.adapter_path,
        mini.detail_adapter_path, mini.lora_path,
    )
}  # fmt: skip
STEPS = 30
VAE = (
    "data.crop=32", "train.steps=2", "train.batch_size=1", "train.statistics_samples=2",
    "validation.pictures=1", "validation.size=64", "validation.side_by_side=1",
)  # fmt: skip
DIT = ("train.batch_size=2", "validation.pictures=2", "validation.sampling_steps=1")
GENERATOR = (
    *(
        f"{stage}:{change}"
        for stage in ("scenes", "adapter_scenes", "style_scenes")
        for change in ("training=4", "held_out=2", "size=64")
    ),
    *(f"cache_{part}{which}:images.sizes=[32x32]" for part in ("base", "style") for which in ("", "_val")),
    *(f"cache_davae{which}:images.sizes=[64x64]" for which in ("", "_val")),
    *(f"{stage}:{change}" for stage in ("transformer", "adapter", "detail", "lora") for change in DIT),
    "transformer:train.steps=2", f"adapter:train.steps={STEPS}", "adapter:output.log_every=1",
    "adapter:loss.ramp_steps=2",
    "detail:train.steps=2", "lora:train.steps=2",
)  # fmt: skip
CODEC = (
    "pictures:scenes=2", "pictures:crops=3", "pictures:size=64",
    *(f"{stage}:{change}" for stage in ("base_vae", "davae", "decoder") for change in VAE),
    "text:data.families=[prompt_scenes]", "text:data.pictures=8", "text:data.held_out=4",
    "text:data.size=32", "text:train.steps=2", "text:train.batch_size=4",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run of the command said, and the stages' records after it by name."""

    code: int
    output: str
    errors: str
    records: dict[str, dict[str, Any]]

    @property
    def last_line(self) -> str:
        return self.errors.splitlines()[-1]


def call(out: Path, *changes: str, flags: tuple[str, ...] = ()) -> Run:
    arguments = [part for change in changes for part in ("--set", change)]
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = main(["mini", str(out), *flags, *arguments])
    path = out / "stages.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    named = {record["name"]: record for record in records}
    return Run(code, said.getvalue(), errors.getvalue(), named)


@contextlib.contextmanager
def interrupted_after(file: Path) -> Iterator[None]:
    """Ctrl-C once, at the first file that is opened or renamed while `file` is there, on machines of any speed."""
    waiting = True

    def watch(event: str, _: tuple[Any, ...]) -> None:
        nonlocal waiting
        if waiting and event in ("open", "os.rename") and file.exists():
            waiting = False
            signal.raise_signal(signal.SIGINT)

    # Processes of pytest-xdist ignore Ctrl-C; Python's own way with it is what is tested.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # Python tells its auditors of every file; a hook cannot be taken back, but this one falls silent.
    sys.addaudithook(watch)
    try:
        yield
    finally:
        waiting = False
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Made:
    """The folder, and three runs of one command with `changes`: one that failed, one interrupted, one to the end."""

    out: Path
    changes: tuple[str, ...]
    failed: Run
    interrupted: Run
    reached: int
    finished: Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("mini") / "out"
    changes = (*CODEC, f"base_vae:model.base_vae={published_pair(out.parent)}", *GENERATOR)
    in_the_way = out / "davae"
    out.mkdir()
    in_the_way.touch()
    failed = call(out, *changes)
    in_the_way.unlink()
    with interrupted_after(out / "adapter" / "log.jsonl"):
        interrupted = call(out, *changes)
    last = max((out / "adapter" / "checkpoints").iterdir()).name
    reached = int(last.removeprefix("step_"))
    return Made(out, changes, failed, interrupted, reached, call(out, *changes))


def published_pair(folder: Path) -> Path:
    """The bundled base VAE as TAESD publishes its own, in two files; returns the encoder's."""
    weights = load_base_vae(mini.davae_path()).vae.state_dict()
    for half in ("encoder", "decoder"):
        own = {n.removeprefix(f"{half}."): t for n, t in weights.items() if n.startswith(half)}
        write_safetensors(folder / f"taesd3_{half}.safetensors", own, {})
    return folder / "taesd3_encoder.safetensors"


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_failing_stage_is_named_and_the_ones_before_it_are_done(made: Made) -> None:
    assert made.failed.code == 1
    assert made.failed.last_line.startswith("Stage 4 of 18 (davae) failed: ")
    assert str(made.out / "davae") in made.failed.last_line
    finished = [record["finished"] for record in made.failed.records.values()]
    assert finished == [True, True, True, False]
    for name in ("scenes", "pictures", "base_vae"):
        assert made.finished.records[name] == made.failed.records[name]


def test_an_interrupted_stage_goes_on_where_it_was(made: Made) -> None:
    assert made.interrupted.code == 1
    assert made.interrupted.last_line == "Stopped before the end: run the same command to go on."
    assert 0 < made.reached < STEPS
    assert not made.interrupted.records["adapter"]["finished"]
    assert made.finished.code == 0, made.finished.errors
    steps = [record["step"] for record in read_log(made.out / "adapter", "train")]
    assert steps == list(range(1, STEPS + 1))


def test_the_time_of_every_stage_is_noted_and_summed_over_its_runs(made: Made) -> None:
    assert tuple(made.finished.records) == STAGES
    for record in made.finished.records.values():
        assert record["finished"] and record["cpu_seconds"] > 0 and record["wall_seconds"] > 0
    before, after = (run.records["adapter"] for run in (made.interrupted, made.finished))
    assert after["cpu_seconds"] > before["cpu_seconds"] > 0


def test_the_bundled_files_are_all_there_and_draw_a_picture(made: Made) -> None:
    folder = made.out / "miniature"
    assert made.finished.output == f"{folder}\n"
    assert {path.name for path in folder.iterdir()} == FILES
    for adapter, mode in ((mini.adapter_path(), "joint"), (mini.detail_adapter_path(), "detail")):
        pipeline = load_pipeline(
            folder / mini.transformer_path().name,
            folder / mini.davae_path().name,
            adapter=folder / adapter.name,
            encode_text=load_text_encoder(folder / mini.clip_path().name).encode,
            dtype=torch.float32,
        )
        assert pipeline.description.mode == mode
        (picture,) = pipeline.draw(["a red circle in the centre"], 64, 64, steps=2)
        assert picture.shape == (3, 64, 64) and picture.isfinite().all() and picture.std() > 0


def test_nothing_is_taken_from_the_bundled_files(made: Made) -> None:
    for path in (made.out / "miniature").iterdir():
        bundled = mini.davae_path().with_name(path.name)
        assert path.read_bytes() != bundled.read_bytes()


def test_a_finished_miniature_is_left_alone(made: Made) -> None:
    before = snapshot(made.out)
    again = call(made.out, *made.changes)
    assert (again.code, again.output) == (0, made.finished.output)
    assert snapshot(made.out) == before


def test_a_changed_setting_of_a_stage_that_was_begun_is_refused(made: Made) -> None:
    changed = call(made.out, *made.changes, "text:train.seed=5")
    assert changed.code == 1
    assert "text:train.seed is 5, but the stage was begun with 0" in changed.last_line


def test_transformer_and_adapter_alone_are_trained_on_the_bundled_codec(tmp_path: Path) -> None:
    short = "adapter:train.steps=2"
    run = call(tmp_path / "out", *GENERATOR, short, flags=("--from-bundled-codec",))
    assert run.code == 0, run.errors
    assert tuple(run.records) == ("scenes", *STAGES[STAGES.index("cache_base") :])
    folder = tmp_path / "out" / "miniature"
    assert {path.name for path in folder.iterdir()} == FILES
    same = {
        path.name
        for path in folder.iterdir()
        if path.read_bytes() == mini.davae_path().with_name(path.name).read_bytes()
    }
    trained = {
        path().name
        for path in (
            mini.transformer_path, mini.adapter_path, mini.detail_adapter_path, mini.lora_path,
        )
    }  # fmt: skip
    assert same == FILES - trained


def test_scenes_and_caches_are_interrupted_and_go_on_too(tmp_path: Path) -> None:
    out, many = tmp_path / "out", 300
    changes = (*GENERATOR, f"scenes:training={many}", "cache_base:output.shard_pictures=2")
    runs = []
    for stage, file in (("scenes", "train/scene_0000002.txt"), ("cache_base", "shard_00000.json")):
        with interrupted_after(out / stage / file):
            runs.append(call(out, *changes, flags=("--from-bundled-codec",)))
        assert runs[-1].code == 1
        assert runs[-1].last_line == "Stopped before the end: run the same command to go on."
        assert not runs[-1].records[stage]["finished"] and tuple(runs[-1].records)[-1] == stage
    first, second = (run.records["scenes"] for run in runs)
    assert second["finished"] and second["cpu_seconds"] > first["cpu_seconds"] > 0
    written = sorted((out / "scenes" / "train").glob("*.png"), key=lambda path: path.name)
    assert len(written) == many
    # The second run drew what the first had not: the first scenes are older than the caption it was stopped at.
    times = [path.stat().st_mtime_ns for path in written]
    assert times == sorted(times)
    assert times[0] < times[2] <= (out / "scenes/train/scene_0000002.txt").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            "train.steps=2",
            "is not of the form STAGE:section.key=value, where STAGE is one of scenes",
        ),
        ("dit:train.steps=2", "is not of the form STAGE:section.key=value"),
        ("davae:model.base_vae=x", "model.base_vae joins the stages"),
        ("adapter:train.step=2", "unknown key train.step; the nearest valid key is train.steps."),
        ("scenes:size=8", "size is 8, but it must be at least 32"),
    ],
)
def test_a_wrong_change_is_refused_before_anything_is_done(
    tmp_path: Path, change: str, wanted: str
) -> None:
    run = call(tmp_path / "out", change)
    assert run.code == 1 and wanted in run.last_line
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = call(tmp_path / "out")
    assert run.code == 1 and "made by one process" in run.last_line
    assert not (tmp_path / "out").exists()
