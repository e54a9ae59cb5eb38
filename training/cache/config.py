"""The configuration of a cache: pictures and captions in, latents and text states out (configs/sd35_cache.yaml)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from davae_core.reading.plain_text import shown

from ..errors import TrainingError
from ..settings.limits import Count, Limits, Whole
from .buckets import Size, bucket_sizes
from .text_states import T5Storage

TextPrecision = Literal["auto", "fp32", "bf16"]
"""Of text encoders; `auto`: bf16 on a GPU, fp32 on a CPU, where half precision is slow and memory is plenty."""


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

    side: Whole = 1024
    multiple: Whole = 32
    longest: Annotated[float, Limits(1)] = 2.0
    sizes: tuple[str, ...] | None = None
    crops: Whole = 1
    flips: bool = False
    enlarge: bool = False

    def __post_init__(self) -> None:
        Limits(self.multiple).check("images.side", self.side)
        if self.sizes is not None and not self.sizes:
            raise TrainingError(
                "images.sizes is an empty list: name sizes such as 1024x1024, or leave it out."
            )
        for one, other in itertools.combinations(self.fixed_sizes, 2):
            if one.width * other.height == other.width * one.height:
                raise TrainingError(
                    f"images.sizes has {one.width}x{one.height} and {other.width}x{other.height}, of which one would "
                    "get every picture, because their shape is the same: make a cache for each."
                )
        for size in self.fixed_sizes:
            if size.height % self.multiple or size.width % self.multiple:
                raise TrainingError(
                    f"images.sizes has {size.width}x{size.height}, whose sides must be multiples of images.multiple, "
                    f"{self.multiple}."
                )

    @property
    def fixed_sizes(self) -> tuple[Size, ...]:
        """The sizes that are named, if any. Raises TrainingError when one is not written as WIDTHxHEIGHT."""
        return tuple(_size_of(written) for written in self.sizes or ())

    def buckets(self) -> tuple[Size, ...]:
        """Every size that a picture may be brought to."""
        return self.fixed_sizes or bucket_sizes(self.side, self.multiple, self.longest)


def _size_of(written: str) -> Size:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", written)
    if found is None:
        raise TrainingError(
            f"images.sizes has {shown(written)}, but a size is a width and a height such as 1216x832."
        )
    return Size(height=int(found[2]), width=int(found[1]))


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
    source: str = "hf:stabilityai/stable-diffusion-3.5-medium"
    t5_tokens: Count = 256
    states: Literal["cached", "live"] = "cached"
    t5_storage: T5Storage = "fp16"

    def __post_init__(self) -> None:
        if self.kind == "mini" and self.t5_tokens:
            raise TrainingError("text.t5_tokens is set, but the miniature has no T5: set it to 0.")
        if self.t5_storage != "fp16" and (self.states == "live" or not self.t5_tokens):
            raise TrainingError(
                f"text.t5_storage is {self.t5_storage}, but no caption's T5 states are stored: set it to fp16, or set "
                "text.states to cached and text.t5_tokens above 0."
            )


@dataclass(frozen=True)
class WorkConfig:
    """How the work is done; nothing here changes the result beyond rounding."""

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    batch_size: Whole = 8
    downloads: str | None = None


@dataclass(frozen=True)
class CacheOutputConfig:
    """Where the cache is written."""

    folder: str = ""
    shard_pictures: Whole = 1000

    def __post_init__(self) -> None:
        if not self.folder:
            raise TrainingError("output.folder is missing: name the folder of the cache.")


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
