"""Runs a plan: codecs, caches of their latents, adapters, pictures, results; whatever is finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from davae_core.files import file_hash
from training.engine.tracking import read_log
from training.mini.stage_log import StageLog

from .anchors import REAL, anchor_file, measured_anchors, through
from .arms import ARMS, DRAWN, Adapter, Arm, Codec
from .bases import bases_file
from .job import arguments
from .measure_arms import finished_seeds, result_file
from .measuring import real_pictures
from .plan import Plan
from .results import Curve, Result, Results, read_result, write_results
from .stack import Stack, stack_of
from .training_runs import (
    adapter_file,
    make_caches,
    make_codec,
    run_process,
    train_adapter,
    write_scenes,
)


@dataclass(frozen=True)
class Ablation:
    """A plan, the folder that it fills, and what it starts from.

    `stack_folder` is another miniature's, None the bundled one; `codec_pictures` are what
    `python -m training.mini.pictures` wrote.
    """

    out: Path
    plan: Plan
    codec_pictures: Path
    stack_folder: Path | None = None

    def run(self, jobs: int) -> Path:
        """Everything, `jobs` processes at a time; the file of results, which is written anew after each arm.

        Raises TrainingFailed, TrainingError or CheckpointError.
        """
        plan = self.plan
        _begin(self.out, self.stack, plan)
        write_scenes(self.out, plan.scenes, plan.held_out)
        real_pictures(self.out, plan.pictures)
        _all(jobs, self._codec, [(codec,) for codec in plan.codecs()])
        _all(jobs, self._anchor, [(name,) for name in (REAL, *map(through, plan.codecs()))])
        if plan.draws_on_bases():
            _all(jobs, self._bases, [(seed,) for seed in plan.seeds])
        _all(jobs, self._drawn, self._drawings(), lambda: collect(self.out, plan))
        return collect(self.out, plan)

    @property
    def stack(self) -> Stack:
        """The files that every arm starts from."""
        return stack_of(self.stack_folder)

    def _drawings(self) -> list[tuple[Adapter | None, tuple[str, ...], int]]:
        """Adapters with the arms that draw with them, and references, which have none.

        Seed after seed, so that a run cut short has whole comparisons.
        """
        plan = self.plan
        by_adapter: list[tuple[Adapter | None, tuple[str, ...]]] = [
            (adapter, tuple(arm.name for arm in plan.drawn_with(adapter)))
            for adapter in plan.adapters()
        ]
        alone = [(None, (reference.name,)) for reference in plan.references]
        return [(*work, seed) for seed in plan.seeds for work in (*by_adapter, *alone)]

    def _codec(self, codec: Codec) -> None:
        make_codec(self.out, self.stack, codec, self.codec_pictures, self.plan.codec_settings)
        make_caches(self.out, self.stack, codec)

    def _anchor(self, name: str) -> None:
        if not anchor_file(self.out, name).is_file():
            self._job("anchor", name)

    def _bases(self, seed: int) -> None:
        if not bases_file(self.out, seed, self.plan.pictures).is_file():
            self._job("bases", str(seed))

    def _drawn(self, adapter: Adapter | None, names: Sequence[str], seed: int) -> None:
        plan = self.plan
        if adapter is not None:
            settings = plan.adapter_settings
            train_adapter(self.out, self.stack, adapter, seed, plan.steps, settings)
        for name in names:
            if not result_file(self.out, name, seed).is_file():
                self._job("arm", name, seed)

    def _job(self, kind: str, name: str, seed: int | None = None) -> None:
        log = "_".join(part for part in (kind, name, "" if seed is None else str(seed)) if part)
        said = arguments(self.out, kind, name, self.plan.pictures, self.stack_folder, seed)
        run_process(self.out / "output" / f"{log}.txt", said)


def collect(out: Path, plan: Plan) -> Path:
    """Write results.json from what is finished in the folder, by this run and by others with the same protocol."""
    measured = {found.name: _results(out, found.name) for found in DRAWN}
    results = Results(
        protocol=plan.protocol(),
        arms={name: found for name, found in measured.items() if found},
        curves={
            arm.name: [_curve(out, arm, found.seed) for found in measured[arm.name]]
            for arm in ARMS
            if measured[arm.name] and arm.name == arm.adapter.name
        },
        anchors=measured_anchors(out),
    )
    path = out / "results.json"
    write_results(path, results)
    return path


def _results(out: Path, name: str) -> list[Result]:
    """Of every seed that is done, in order."""
    return [read_result(result_file(out, name, seed)) for seed in finished_seeds(out, name)]


def _curve(out: Path, arm: Arm, seed: int) -> Curve:
    found = read_log(adapter_file(out, arm.adapter, seed).parent, "train")
    return Curve(
        seed,
        tuple(record["step"] for record in found),
        tuple(round(record["base"], 4) for record in found if "base" in record),
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


def _all(
    jobs: int,
    work: Callable[..., None],
    items: Sequence[tuple[Any, ...]],
    after: Callable[[], object] = lambda: None,
) -> None:
    """Do all the work, `jobs` items at a time, and `after` each.

    What has not begun when one fails or Ctrl-C comes is left.
    """
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, *item) for item in items]
        try:
            for done in as_completed(running):
                done.result()
                after()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
