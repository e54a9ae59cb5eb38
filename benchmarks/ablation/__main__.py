"""Train and measure every arm: ``python -m benchmarks.ablation OUT``.

Codecs, caches and adapters are trained into OUT, 2,000 pictures are drawn with each, and OUT/results.json is written.
Whatever is finished in OUT is kept: run the same command again after a stop. ``--stack`` starts from another
miniature than the bundled one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from davae_core.files import CheckpointError
from training.errors import TrainingError
from training.tracking import read_log

from .anchors import ANCHORS, measure_anchor, measured_anchors
from .arms import ARMS, PICTURES, REFERENCES, SEEDS, Arm, Codec, Reference, Sampling, stack_of
from .measure_arms import result_file
from .measuring import real_pictures
from .results import Curve, Results, read_result, write_results
from .training_runs import (
    Budget,
    TrainingFailed,
    adapter_file,
    make_caches,
    run_process,
    train_adapter,
    train_codec,
    write_scenes,
)


def run(out: Path, stack_folder: Path | None, budget: Budget, pictures: int, jobs: int) -> Path:
    """Everything, `jobs` processes at a time; the file of results. Raises TrainingFailed."""
    stack = stack_of(stack_folder)
    write_scenes(out, budget.scenes)
    real_pictures(out, pictures)
    codecs = codecs_of(ARMS)
    _all(jobs, lambda codec, seed: train_codec(out, stack, codec, seed, budget), codecs)
    _all(jobs, lambda codec, seed: make_caches(out, stack, codec, seed), codecs)

    def arm_of(arm: Arm | Reference, seed: int) -> None:
        if isinstance(arm, Arm):
            train_adapter(out, stack, arm, seed, budget)
        measure_arm(out, stack_folder, arm, seed, pictures)

    _all(jobs, arm_of, arms_by_seed(ARMS, REFERENCES))
    for name in ANCHORS:
        measure_anchor(out, stack, name, pictures)
    return collect(out, budget, pictures)


def codecs_of(arms: Sequence[Arm]) -> list[tuple[Codec, int]]:
    """Every codec that the arms need, with its seed, once."""
    return list(
        dict.fromkeys((arm.codec, seed) for seed in SEEDS for arm in arms if seed in arm.seeds)
    )


def arms_by_seed(
    arms: Sequence[Arm], references: Sequence[Reference]
) -> list[tuple[Arm | Reference, int]]:
    """Seed after seed, so that a run cut short has whole comparisons."""
    return [
        (arm, seed)
        for seed in SEEDS
        for arm in (*arms, *references)
        if isinstance(arm, Reference) or seed in arm.seeds
    ]


def measure_arm(
    out: Path, stack_folder: Path | None, arm: Arm | Reference, seed: int, pictures: int
) -> None:
    """Draw and measure in a process of its own, unless that is done."""
    if result_file(out, arm.name, seed).is_file():
        return
    command = ["-m", "benchmarks.ablation.measure_arms", str(out), arm.name, str(seed)]
    command += ["--pictures", str(pictures)]
    if stack_folder is not None:
        command += ["--stack", str(stack_folder)]
    run_process(out / "results" / f"{arm.name}_{seed}.txt", command)


def collect(out: Path, budget: Budget, pictures: int) -> Path:
    """Write results.json from what is finished."""
    measured = {
        arm.name: [seed for seed in SEEDS if result_file(out, arm.name, seed).is_file()]
        for arm in (*ARMS, *REFERENCES)
    }
    results = Results(
        protocol={
            "steps": budget.steps,
            "scenes": budget.scenes,
            "pictures": pictures,
            "sampling": asdict(Sampling()),
        },
        arms={
            name: [read_result(result_file(out, name, seed)) for seed in seeds]
            for name, seeds in measured.items()
        },
        curves={arm.name: [_curve(out, arm, seed) for seed in measured[arm.name]] for arm in ARMS},
        anchors=measured_anchors(out),
    )
    path = out / "results.json"
    write_results(path, results)
    return path


def _curve(out: Path, arm: Arm, seed: int) -> Curve:
    found = read_log(adapter_file(out, arm, seed).parent, "validation")
    return Curve(
        seed,
        tuple(record["step"] for record in found),
        tuple(round(record["base"], 5) for record in found),
        tuple(round(record["detail"], 5) for record in found),
    )


def _all(jobs: int, work: Callable[..., None], items: Sequence[tuple[Any, int]]) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work, *item) for item in items]:
            done.result()


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the runs and the results")
    parser.add_argument("--stack", type=Path, help="folder of another miniature's files")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes at a time (default: cores)"
    )
    parser.add_argument("--pictures", type=int, default=PICTURES, help="drawn per arm and seed")
    given = parser.parse_args(arguments)
    try:
        written = run(given.out, given.stack, Budget(), given.pictures, given.jobs)
    except (TrainingFailed, TrainingError, CheckpointError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
