"""`python -m training cache`: encode pictures and captions once, into the shards that the trainer reads."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

import torch
from accelerate import PartialState

from davae_core.files import reason_of

from ..engine.processes import as_main_finds, make_state
from ..engine.progress import progress_bar
from ..engine.unhurried import unhurried
from ..errors import TrainingError
from ..tars.patterns import is_address, tar_files
from .caption_pass import CaptionPass, waiting_path
from .config import CacheConfig
from .head import CacheHead, write_head
from .job_plan import paths_of, plan_path, shared_plan
from .parts import Part, begin_part, end_part
from .picture_pass import PicturePass
from .remote_tars import RemoteTar, RemoteTars, find_tars
from .shard_files import read_index, shard_path
from .shard_plan import Planned, ShardWork, work_on
from .table_file import write_table

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds, or a part of it: pictures cached and left out, the latter with the reason."""

    pictures: int
    left_out: dict[str, str]

    def words(self, folder: str) -> str:
        """It in a line: how many, the share left out and one reason. Raises TrainingError when nothing was cached."""
        count = len(self.left_out)
        if not count:
            return f"{self.pictures} pictures in {folder}, 0 left out"
        name, why = min(self.left_out.items())
        if not self.pictures:
            raise TrainingError(
                f"Nothing was cached in {folder}: each of the {count} pictures was left out, the first is {name} "
                f"({reason_of(why)}): mend that and run the same command again."
            )
        return (
            f"{self.pictures} pictures in {folder}, {count} left out ({count / (count + self.pictures):.1%}), the "
            f"first is {name} ({reason_of(why)}); shard_*.json there have every reason, and what is mended is taken in "
            "by the same command"
        )


def make_cache(config: CacheConfig, part: Part = Part()) -> CacheReport:  # noqa: B008
    """Write the cache or a part of it, or finish or renew one that was begun with the same settings.

    Every process of an `accelerate launch` writes its own shards. A shard that is whole (by hash) is kept as long as
    its pictures and captions are what it was made of, else what changed is encoded again; pictures that the source
    gained get further shards. Raises TrainingError or CheckpointError.
    """
    state = make_state(config.work.device)
    folder = Path(config.output.folder).expanduser()
    remote = _remote_tars(config, folder, part, state)
    try:
        with unhurried():
            remote.note(slice(state.process_index, None, state.num_processes))
        head, shards = shared_plan(config, folder, part, remote, state)
        with unhurried():
            if state.is_main_process:
                _begin(folder, part, head)
        with unhurried():
            _write_shards(_Job(config, folder, shards, part, remote, state))
    finally:
        remote.release()
        if state.is_main_process:
            plan_path(folder, part).unlink(missing_ok=True)
    with unhurried():
        if state.is_main_process:
            if part.whole:
                write_table(folder, head)
            else:
                _LOG.info("%s", end_part(folder, part, head))
    numbers = range(part.number - 1, len(shards), part.count)
    return as_main_finds(state, lambda: _report(folder, numbers))


def _remote_tars(config: CacheConfig, folder: Path, part: Part, state: PartialState) -> RemoteTars:
    """The tars at addresses, with room of its own for this process."""
    addresses = [pattern for pattern in config.source.shards if is_address(pattern)]

    def find() -> tuple[RemoteTar, ...]:
        others = (
            [path.name for path in tar_files(paths_of(config), "source.shards")]
            if addresses
            else []
        )
        return find_tars(addresses, others)

    # Asked once: every process sees the same tars in the same state.
    tars = as_main_finds(state, find)
    own = f"{folder.absolute()} {part.number} {state.process_index}".encode()
    room = Path(config.work.downloads or gettempdir()).expanduser()
    return RemoteTars(
        tars,
        folder,
        room / f"davae_tars_{hashlib.sha256(own).hexdigest()[:16]}",
        config.source.captions == "class",
    )


@dataclass(frozen=True)
class _Job:
    """The work of this process."""

    config: CacheConfig
    folder: Path
    shards: Sequence[Planned]
    part: Part
    remote: RemoteTars
    state: PartialState

    @property
    def own(self) -> range:
        """The numbers of its shards: each part has every n-th, each process of the part again."""
        part, state = self.part, self.state
        first = part.number - 1 + state.process_index * part.count
        return range(first, len(self.shards), part.count * state.num_processes)


def _begin(folder: Path, part: Part, head: CacheHead) -> None:
    """Write what refuses another configuration in this folder from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    if part.whole:
        write_head(folder, head)
    else:
        begin_part(folder, part, head)


def _write_shards(job: _Job) -> None:
    config, folder, state = job.config, job.folder, job.state
    main, works = state.is_main_process, list[ShardWork]()
    with progress_bar(len(job.own), "looking", "shard", main) as bar:
        for number in job.own:
            work = work_on(folder, number, job.shards[number], config.source.caption_key)
            if work is None:
                # A job that was killed may have left it.
                waiting_path(shard_path(folder, number)).unlink(missing_ok=True)
            else:
                works.append(work)
            bar.update()
    # One after the other: a small GPU has room for the text encoders or for the VAE.
    CaptionPass(config, folder, state.device).run(works, main and job.part.number == 1, main)
    _free(state.device)
    PicturePass(config, folder, state.device, job.remote).run(works, main)


def _free(device: torch.device) -> None:
    """Give back the memory of what nobody refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _report(folder: Path, numbers: Sequence[int]) -> CacheReport:
    indices = [read_index(shard_path(folder, number)) for number in numbers]
    left_out = {name: why for index in indices if index for name, why in index.left_out.items()}
    return CacheReport(sum(len(index.pictures) for index in indices if index), left_out)
