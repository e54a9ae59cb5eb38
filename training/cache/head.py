"""`cache.json`: what a cache was made with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from davae_core.files import reason_of, write_text
from davae_core.latents import Channels, LatentLayout, Number
from davae_core.reading.json_text import read_json
from davae_core.reading.typed import Limits, build, check_limits, picked

from ..errors import TrainingError

FORMAT_VERSION = 3
"""2: a shard's index has marks and rules (marks.py); 3: a picture may have several captions, the whole an index."""
HEAD = "cache.json"
TEXTS = "texts.safetensors"
"""The text states that belong to no picture (latent_cache.py)."""
_BEFORE = {"text.states": "cached", "text.t5_storage": "fp16", "vae.posterior": "mean"}
"""Settings that came later, and what every cache was made with before there were any."""
_IN_SPACE = ("layout", "vae", "vae_hash")
Shards = Annotated[int, Limits(0, 99_999)]


@dataclass(frozen=True)
class CacheHead:
    """What a cache was made with.

    `vae` names the VAE's file, `vae_hash` is of its encoding weights. `settings` are the cache configuration's leaves
    by dotted name.
    """

    layout: LatentLayout
    vae: str
    vae_hash: str
    settings: dict[str, Any]
    prompts: tuple[str, ...]
    shards: Shards
    pictures: str
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_limits(self)

    def setting(self, name: str) -> Any:
        """A setting by its dotted name, also one that came later than the cache; None for one it does not tell."""
        return self.settings.get(name, _BEFORE.get(name))

    def provenance(self) -> dict[str, Any]:
        """What decides the numbers in a cache of given pictures, wherever its files lie."""
        space = {name: value for name, value in _space_of(self).items() if name != "vae"}
        settings = {
            name: value
            for name, value in self.settings.items()
            if not name.startswith("source.") and name != "vae.file"
        }
        return {"vae": space, **settings}


def write_head(folder: Path, head: CacheHead) -> None:
    """Write `cache.json`. Raises CheckpointError."""
    write_text(folder / HEAD, json.dumps(head_values(head), indent=1))


def head_values(head: CacheHead) -> dict[str, Any]:
    """What `cache.json` says."""
    rest = {name: value for name, value in vars(head).items() if name not in _IN_SPACE}
    return {"space": _space_of(head), **rest}


def _space_of(head: CacheHead) -> dict[str, Any]:
    """What `cache.json` says of the latents; a plain VAE's have no layout there, only sizes, shift and scale."""
    layout = head.layout
    return {
        "channels": layout.channels,
        "factor": layout.factor,
        "shift": layout.base_shift,
        "scale": layout.base_scale,
        "vae": head.vae,
        "vae_hash": head.vae_hash,
        "layout": asdict(layout) if layout.detail_channels else None,
    }


@dataclass(frozen=True)
class _Space:
    """What `_space_of` tells."""

    channels: Channels
    factor: Annotated[int, Limits(1, 4096)]
    shift: Number
    scale: Number
    vae: str
    vae_hash: str
    layout: LatentLayout | None

    def whole_layout(self) -> LatentLayout:
        if self.layout is not None:
            return self.layout
        return LatentLayout(self.channels, 0, self.factor, 1, self.shift, self.scale)


@dataclass(frozen=True)
class _Version:
    format_version: int


@dataclass(frozen=True)
class _Told:
    """What `write_head` writes."""

    space: _Space
    settings: dict[str, Any]
    prompts: tuple[str, ...]
    shards: Shards
    pictures: str
    format_version: int


def read_head(folder: Path) -> CacheHead | None:
    """What the cache in `folder` was made with; None when there is none. Raises TrainingError when it is damaged."""
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        return head_of(read_json(path), path)
    except TrainingError:
        raise
    except ValueError as error:
        raise TrainingError(
            f"{path} is damaged: make the cache again in an empty folder ({reason_of(error)})."
        ) from error


def head_of(values: Any, path: Path) -> CacheHead:
    """The head that `head_values` tells in the file `path`.

    Raises ValueError when it is damaged, TrainingError when it is of a newer version.
    """
    version = build(_Version, picked(_Version, values)).format_version
    if version > FORMAT_VERSION:
        raise TrainingError(
            f"{path} was written by a newer version of this project: update, or make the cache again."
        )
    told = build(_Told, values)
    space = told.space
    return CacheHead(
        space.whole_layout(),
        space.vae,
        space.vae_hash,
        told.settings,
        told.prompts,
        told.shards,
        told.pictures,
        version,
    )
