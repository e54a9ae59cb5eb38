"""What a cache is made of and with: planned once per job, by its main process, before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from davae_core.latents import LatentLayout
from davae_core.presets import PATCH

from ..engine.processes import as_main_finds
from ..errors import TrainingError
from ..settings.yaml_config import flatten
from ..tars.patterns import is_address
from .caption_sources import CaptionedSet, scan_captioned
from .class_list import read_class_list
from .config import CacheConfig
from .encoding import latents_of
from .head import CacheHead, read_head
from .parts import Part, check_same
from .plan_file import PlanFile, write_plan
from .remote_tars import RemoteTars
from .shard_files import ShardIndex, read_index, shard_path
from .shard_plan import Planned, plan_shards

_LOG = logging.getLogger(__name__)
_FREE = ("work.", "output.")


def paths_of(config: CacheConfig) -> list[str]:
    """The tar files of the source that are no addresses."""
    return [pattern for pattern in config.source.shards if not is_address(pattern)]


def shared_plan(
    config: CacheConfig, folder: Path, part: Part, remote: RemoteTars, state: PartialState
) -> tuple[CacheHead, Sequence[Planned]]:
    """The plan of all processes of this job, of which only the main one looks through the source.

    Independent parts do so each for itself: a plan of another one's would hide that the source changed meanwhile.
    """
    if state.num_processes == 1:
        return _plan(config, folder, remote)
    path = plan_path(folder, part)

    def make() -> CacheHead:
        head, shards = _plan(config, folder, remote)
        folder.mkdir(parents=True, exist_ok=True)
        write_plan(path, shards, remote.room)
        return head

    return as_main_finds(state, make), PlanFile(path, remote.room)


def plan_path(folder: Path, part: Part) -> Path:
    """Where the plan lies while a job of several processes lasts."""
    return folder / f"plan_{part.number:05d}_of_{part.count:05d}.safetensors"


def _plan(
    config: CacheConfig, folder: Path, remote: RemoteTars
) -> tuple[CacheHead, tuple[Planned, ...]]:
    """What the cache will be made with, checked against what is there, and the pictures of every shard."""
    found = scan_captioned(
        config.source.folders, paths_of(config), remote, config.source.captions == "class"
    )
    _check_captions(config, found)
    shards = plan_shards(found.pictures, _indices(folder), config.output.shard_pictures)
    head = _head(config, found, len(shards))
    _check_buckets(config, head.layout)
    before = read_head(folder)
    if before is not None:
        check_same(folder, before, head)
    return head, shards


def _indices(folder: Path) -> list[ShardIndex | None]:
    """Of the shards that the cache in `folder` has or lacks; none where there is no cache."""
    head = read_head(folder)
    return [read_index(shard_path(folder, number)) for number in range(head.shards if head else 0)]


def _head(config: CacheConfig, found: CaptionedSet, shards: int) -> CacheHead:
    layout, vae_hash = latents_of(config.vae.file, config.vae.kind == "davae", "vae.file")
    return CacheHead(
        layout=layout,
        vae=Path(config.vae.file).name,
        vae_hash=vae_hash,
        settings=_settings(config),
        prompts=config.prompts,
        shards=shards,
        pictures=found.digest,
    )


def _settings(config: CacheConfig) -> dict[str, object]:
    leaves = flatten(config)
    kept = {name: value for name, value in leaves.items() if not name.startswith(_FREE)}
    kept.pop("prompts")
    if config.text.kind == "classes":
        kept["text.classes"] = read_class_list(config.text.source).digest
    return kept


def _check_captions(config: CacheConfig, found: CaptionedSet) -> None:
    if not found.uncaptioned:
        return
    many = f"{len(found.uncaptioned)} pictures have no caption, the first is {found.uncaptioned[0]}"
    if config.source.without_caption == "refuse":
        raise TrainingError(
            f"{many}: put a .txt or .json file beside each, or set source.without_caption to leave_out."
        )
    _LOG.warning("%s: they are left out", many)


def _check_buckets(config: CacheConfig, layout: LatentLayout) -> None:
    multiple = PATCH * layout.factor
    if config.images.multiple % multiple:
        raise TrainingError(
            f"images.multiple is {config.images.multiple}, but {Path(config.vae.file).name} and a transformer with "
            f"patches of {PATCH} need a multiple of {multiple}."
        )
