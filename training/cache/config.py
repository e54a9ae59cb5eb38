"""The configuration of a cache: pictures and captions in, latents and text states out (configs/sd35_cache.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import TrainingError
from ..settings.limits import check_least
from ..settings.yaml_config import read_config


@dataclass(frozen=True)
class SourceConfig:
    """Where captioned pictures are."""

    folders: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    caption_key: str = "prompt"
    without_caption: Literal["refuse", "leave_out"] = "refuse"

    def __post_init__(self) -> None:
        if not self.folders and not self.shards:
            raise TrainingError(
                "source.folders and source.shards are both empty: name a folder of captioned pictures or tar files."
            )


@dataclass(frozen=True)
class ImagesConfig:
    """How pictures are brought to the sizes of the buckets."""

    side: int = 1024
    multiple: int = 32
    longest: float = 2.0
    crops: int = 1
    flips: bool = False
    enlarge: bool = False

    def __post_init__(self) -> None:
        for name in ("side", "multiple", "longest", "crops"):
            check_least(f"images.{name}", getattr(self, name), 1)
        check_least("images.side", self.side, self.multiple)


@dataclass(frozen=True)
class CacheVaeConfig:
    """What encodes the pictures."""

    kind: Literal["davae", "base_vae"] = "davae"
    file: str = ""

    def __post_init__(self) -> None:
        if not self.file:
            raise TrainingError("vae.file is missing: name the file of the VAE that encodes.")


@dataclass(frozen=True)
class TextConfig:
    """What encodes the captions."""

    kind: Literal["sd3", "mini"] = "sd3"
    source: str = "stabilityai/stable-diffusion-3.5-medium"
    t5_tokens: int = 256

    def __post_init__(self) -> None:
        check_least("text.t5_tokens", self.t5_tokens, 0)
        if self.kind == "mini" and self.t5_tokens:
            raise TrainingError("text.t5_tokens is set, but the miniature has no T5: set it to 0.")


@dataclass(frozen=True)
class WorkConfig:
    """How the work is done; nothing here changes the result beyond rounding."""

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_least("work.batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class CacheOutputConfig:
    """Where the cache is written."""

    folder: str = ""
    shard_pictures: int = 1000

    def __post_init__(self) -> None:
        if not self.folder:
            raise TrainingError("output.folder is missing: name the folder of the cache.")
        check_least("output.shard_pictures", self.shard_pictures, 1)


@dataclass(frozen=True)
class CacheConfig:
    """A whole cache. `prompts` are encoded too, for the pictures that a training draws on its way."""

    source: SourceConfig
    vae: CacheVaeConfig
    output: CacheOutputConfig
    images: ImagesConfig = field(default_factory=ImagesConfig)
    text: TextConfig = field(default_factory=TextConfig)
    work: WorkConfig = field(default_factory=WorkConfig)
    prompts: tuple[str, ...] = ()


def read_cache_config(path: Path, overrides: tuple[str, ...] = ()) -> CacheConfig:
    """The cache configuration in a YAML file; `overrides` are `section.key=value` strings.

    Raises TrainingError, one sentence, for anything that is not a valid configuration.
    """
    return read_config(CacheConfig, path, overrides)
