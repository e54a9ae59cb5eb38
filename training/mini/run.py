"""`python -m training mini`: the whole miniature from nothing, stage by stage, going on where it was stopped."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState

from davae_core.files import CheckpointError, file_hash, write_atomically

from ..cache.config import CacheConfig
from ..cache.make import CacheReport, make_cache
from ..dit.config import DitTrainingConfig
from ..dit.train import train_dit
from ..engine.own_folder import own_folder
from ..errors import TrainingError, sentence_of
from ..settings.yaml_config import flatten, override, read_config
from ..vae.config import VaeTrainingConfig
from ..vae.train import train_vae
from .pictures import write_codec_pictures, write_scene_sets
from .pictures_config import CodecPicturesConfig, PromptScenesConfig
from .plan import Kind, Plan
from .stage_log import StageLog, StageRecord
from .text_config import TextTrainingConfig
from .text_encoder import train_text_encoder

_LOG = logging.getLogger(__name__)
_CONFIGS = Path(__file__).parents[1] / "configs"
RESULT = "miniature"


@dataclass(frozen=True)
class Work:
    """What a stage is told, and what does it: None when it was stopped before its end."""

    config: type
    run: Callable[[Any], object]


def _cache(config: CacheConfig) -> CacheReport:
    report = make_cache(config)
    if not report.pictures:
        raise TrainingError(
            f"The cache {config.output.folder} got no picture: see what it left out."
        )
    return report


KINDS: dict[Kind, Work] = {
    "pictures": Work(CodecPicturesConfig, partial(write_codec_pictures, keep=True)),
    "scenes": Work(PromptScenesConfig, write_scene_sets),
    "vae": Work(VaeTrainingConfig, train_vae),
    "text": Work(TextTrainingConfig, train_text_encoder),
    "cache": Work(CacheConfig, _cache),
    "dit": Work(DitTrainingConfig, train_dit),
}


def retrain(out: Path, plan: Plan, changes: Sequence[str] = ()) -> Path | None:
    """Go through the plan's stages in `out`; the folder with the bundled files, or None when it was stopped.

    Finished stages are passed over, a stopped one goes on. `changes` are `STAGE:section.key=value`. Raises
    TrainingError, naming the stage, for what the user can put right; settings are all checked before the first stage.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError(
            "The miniature is made by one process: start it with python, without accelerate launch."
        )
    configs = read_configs(plan, changes)
    with own_folder(out, "folder"):
        return _go_through(out, plan, configs)


def _go_through(out: Path, plan: Plan, configs: Mapping[str, Any]) -> Path | None:
    """`retrain` with every stage's configuration, in a folder of its own."""
    log = StageLog(out / "stages.json")
    names = [stage.name for stage in plan.stages]
    for number, stage in enumerate(plan.stages, start=1):
        title = f"stage {number} of {len(names)} ({stage.name})"
        record = log.begin(stage.name, flatten(configs[stage.name]))
        if record.finished and stage.result.exists():
            _LOG.info("%s was finished before", title)
            continue
        _LOG.info("%s begins", title)
        log.reopen(names[number - 1 :])
        log.write()
        if not _run(title, KINDS[stage.kind], configs[stage.name], log, record):
            return None
    target = out / RESULT
    _collect(plan.files, target)
    cpu, wall = log.total()
    _LOG.info("all stages took %.0f s of processor time, %.0f s by the clock", cpu, wall)
    return target


def read_configs(plan: Plan, changes: Sequence[str]) -> dict[str, Any]:
    """Each stage's configuration by its name, with what joins it to the others and with the user's changes.

    Raises TrainingError.
    """
    wanted = _sorted_changes(plan, changes)
    return {
        stage.name: read_config(
            KINDS[stage.kind].config,
            _CONFIGS / f"{stage.config}.yaml",
            (*(override(key, value) for key, value in stage.joints.items()), *wanted[stage.name]),
        )
        for stage in plan.stages
    }


def _sorted_changes(plan: Plan, changes: Sequence[str]) -> dict[str, list[str]]:
    stages = {stage.name: stage for stage in plan.stages}
    found: dict[str, list[str]] = {name: [] for name in stages}
    for change in changes:
        name, colon, setting = change.partition(":")
        if not colon or name not in stages:
            raise TrainingError(
                f"The change {change!r} is not of the form STAGE:section.key=value, where STAGE is one of "
                f"{', '.join(stages)}."
            )
        key = setting.partition("=")[0]
        if key in stages[name].joints:
            raise TrainingError(
                f"The change {change!r} is refused, because {key} joins the stages: leave it out."
            )
        found[name].append(setting)
    return found


def _run(title: str, work: Work, config: Any, log: StageLog, record: StageRecord) -> bool:
    """Run one stage; False when it was stopped. Its time counts however it ends."""
    cpu, wall = time.process_time(), time.monotonic()
    finished = False
    # accelerate keeps one state for the process and refuses another precision; the stages differ in theirs.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        finished = work.run(config) is not None
    except KeyboardInterrupt:
        _LOG.info("%s was interrupted", title)
    except (TrainingError, CheckpointError, OSError) as error:
        raise TrainingError(f"{title.capitalize()} failed: {sentence_of(error)}") from error
    finally:
        log.charge(record, time.process_time() - cpu, time.monotonic() - wall, finished)
    if finished:
        _LOG.info(
            "%s took %.0f s of processor time, %.0f s by the clock",
            title,
            record.cpu_seconds,
            record.wall_seconds,
        )
    return finished


def _collect(files: Mapping[str, Path], target: Path) -> None:
    """Copy the results to where they have the bundled files' names; what is there already stays as it is."""
    target.mkdir(exist_ok=True)
    for name, source in files.items():
        if not (target / name).is_file() or file_hash(target / name) != file_hash(source):
            write_atomically(target / name, partial(shutil.copyfile, source))
