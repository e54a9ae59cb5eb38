"""Runs a plan: codecs, caches of their latents, adapters, pictures, results; whatever is finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from davae_core.files import file_hash
from training.engine.tracking import read_log
from training.mini.stage_log import StageLog

from .anchors import measure_anchor, measured_anchors
from .arms import Arm, Codec, Stack, stack_of
from .measure_arms import result_file
from .measuring import real_pictures
from .plan import Plan
from .results import Curve, Results, read_result, write_results
from .training_runs import (
    adapter_file,
    make_caches,
    run_process,
    train_adapter,
    train_codec,
    write_scenes,
)


def run(out: Path, stack_folder: Path | None, codec_pictures: Path, plan: Plan, jobs: int) -> Path:
    """Everything into `out`, `jobs` processes at a time; the file of results.

    `codec_pictures`: what `python -m training.mini.pictures` wrote.

    Raises TrainingFailed, TrainingError or CheckpointError.
    """
    stack = stack_of(stack_folder)
    _begin(out, stack, plan)
    write_scenes(out, plan.scenes, plan.held_out)
    real_pictures(out, plan.pictures)

    def codec_and_caches(codec: Codec) -> None:
        train_codec(out, stack, codec, codec_pictures, plan.codec_settings)
        make_caches(out, stack, codec)

    def adapter_and_pictures(arm: Arm, seed: int) -> None:
        train_adapter(out, stack, arm, seed, plan.steps, plan.adapter_settings)
        measure_arm(out, stack_folder, arm.name, seed, plan.pictures)

    def reference(name: str, seed: int) -> None:
        measure_arm(out, stack_folder, name, seed, plan.pictures)

    _all(jobs, codec_and_caches, [(codec,) for codec in plan.codecs()])
    _all(jobs, adapter_and_pictures, plan.adapters())
    _all(jobs, reference, [(found.name, seed) for seed in plan.seeds for found in plan.references])
    for name in plan.anchors:
        measure_anchor(out, stack, name, plan.pictures)
    return collect(out, plan)


def measure_arm(out: Path, stack_folder: Path | None, name: str, seed: int, pictures: int) -> None:
    """Draw and measure in a process of its own, unless that is done."""
    if result_file(out, name, seed).is_file():
        return
    command = ["-m", "benchmarks.ablation.measure_arms", str(out), name, str(seed)]
    command += ["--pictures", str(pictures)]
    if stack_folder is not None:
        command += ["--stack", str(stack_folder)]
    run_process(out / "results" / f"{name}_{seed}.txt", command)


def collect(out: Path, plan: Plan) -> Path:
    """Write results.json from what is finished."""
    measured = {
        found.name: [seed for seed in plan.seeds if result_file(out, found.name, seed).is_file()]
        for found in (*plan.arms, *plan.references)
    }
    results = Results(
        protocol=plan.protocol(),
        arms={
            name: [read_result(result_file(out, name, seed)) for seed in seeds]
            for name, seeds in measured.items()
        },
        curves={
            arm.name: [_curve(out, arm, seed) for seed in measured[arm.name]] for arm in plan.arms
        },
        anchors=measured_anchors(out),
    )
    path = out / "results.json"
    write_results(path, results)
    return path


def _curve(out: Path, arm: Arm, seed: int) -> Curve:
    found = read_log(adapter_file(out, arm, seed).parent, "train")
    return Curve(
        seed,
        tuple(record["step"] for record in found),
        tuple(round(record["base"], 4) for record in found),
        tuple(round(record["detail"], 4) for record in found),
    )


def _begin(out: Path, stack: Stack, plan: Plan) -> None:
    """Note what the folder's results are made from. Raises TrainingError when it was begun with anything else."""
    log = StageLog(out / "begun.json")
    files = {name: file_hash(Path(file)) for name, file in asdict(stack).items()}
    settings = {"codec": list(plan.codec_settings), "adapter": list(plan.adapter_settings)}
    log.begin("ablation", {**plan.protocol(), **files, **settings})
    out.mkdir(parents=True, exist_ok=True)
    log.write()


def _all(jobs: int, work: Callable[..., None], items: Sequence[tuple[Any, ...]]) -> None:
    """Do all the work, `jobs` items at a time; what has not begun when one fails or Ctrl-C comes is left."""
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, *item) for item in items]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
