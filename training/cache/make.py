"""`python -m training cache`: encode pictures and captions once, into the shards that the trainer reads."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor
from tqdm import tqdm

from davae_core.files import reason_of
from davae_core.images import from_bytes
from davae_core.latents import LatentLayout
from davae_core.presets import PATCH
from davae_core.reading.plain_text import shown

from ..engine.processes import LONGEST_WAIT
from ..engine.randomness import Stream, numpy_generator
from ..errors import TrainingError
from ..hub import same_source
from ..settings.yaml_config import flatten
from .buckets import Size, fill_and_crop, nearest_bucket
from .caption_sources import CaptionedSet, scan_captioned
from .captions import CaptionedPicture
from .class_list import read_class_list
from .config import CacheConfig, ImagesConfig
from .encoding import PictureEncoder, load_caption_encoder, load_picture_encoder
from .latent_cache import (
    CachedPicture,
    CacheHead,
    ShardIndex,
    read_head,
    read_index,
    shard_path,
    write_head,
    write_shard,
    write_texts,
)
from .marks import mark_of
from .shard_plan import Planned, is_current, plan_shards
from .text_states import TextStates

_LOG = logging.getLogger(__name__)
_FREE = ("work.", "output.")
_SMALLEST_ZOOM = 0.75
_UNSAID_BEFORE = {"vae.posterior": "mean"}
"""Settings that caches did not have from the start, and what was done before."""


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds: pictures cached and left out, the latter with the reason."""

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


def make_cache(config: CacheConfig) -> CacheReport:
    """Write the cache, or finish or renew one that was begun with the same settings.

    Every process of an `accelerate launch` writes its own shards. A shard that is whole (by hash) is kept as long as
    its pictures and captions are what it was made of; pictures that the source gained get further shards. Raises
    TrainingError or CheckpointError.
    """
    state = PartialState(cpu=config.work.device == "cpu", timeout=LONGEST_WAIT)
    folder, source = Path(config.output.folder).expanduser(), config.source
    found = scan_captioned(source.folders, source.shards, source.captions == "class")
    _check_captions(config, found)
    pictures = load_picture_encoder(config.vae, state.device)
    captions = load_caption_encoder(config.text, state.device)
    _check_buckets(config, pictures.layout)
    shards = plan_shards(found.pictures, _indices(folder), config.output.shard_pictures)
    job = _Job(config, folder, found, shards, pictures, captions, state.device)
    # Every process plans by what is there before one of them changes it.
    state.wait_for_everyone()
    if state.is_main_process:
        job.begin()
    state.wait_for_everyone()
    own = range(state.process_index, len(shards), state.num_processes)
    for number in tqdm(own, desc="shards", disable=not state.is_main_process):
        if not is_current(shard_path(folder, number), shards[number], config.source.caption_key):
            job.write(number)
    state.wait_for_everyone()
    return job.report()


def _indices(folder: Path) -> list[ShardIndex | None]:
    """Of the shards that the cache in `folder` has or lacks; none where there is no cache."""
    head = read_head(folder)
    return [read_index(shard_path(folder, number)) for number in range(head.shards if head else 0)]


def _settings(config: CacheConfig) -> dict[str, object]:
    leaves = flatten(config)
    kept = {name: value for name, value in leaves.items() if not name.startswith(_FREE)}
    kept.pop("prompts")
    if config.text.kind == "classes":
        kept["text.classes"] = read_class_list(config.text.source).digest
    return kept


def _check_same(folder: Path, before: CacheHead, now: CacheHead) -> None:
    for name, value in now.settings.items():
        if name.startswith("source."):
            continue
        if not same_source(before.settings.get(name, _UNSAID_BEFORE.get(name)), value):
            raise TrainingError(
                f"The cache {folder} was made with {name} = {shown(before.settings.get(name))}, not {shown(value)}: "
                "put it back, or choose another output.folder."
            )
    if before.vae_hash != now.vae_hash:
        raise TrainingError(
            f"The cache {folder} was made with another VAE than {now.vae}, whatever its name: choose another "
            "output.folder."
        )


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


@dataclass(frozen=True)
class _Prepared:
    picture: CaptionedPicture
    caption: str
    variants: Tensor


@dataclass
class _Job:
    """The work of one process: shard by shard, bucket by bucket, batch by batch."""

    config: CacheConfig
    folder: Path
    found: CaptionedSet
    shards: tuple[Planned, ...]
    encoder: PictureEncoder
    encode_captions: Callable[[Sequence[str]], TextStates]
    device: torch.device

    def __post_init__(self) -> None:
        self.buckets = self.config.images.buckets()

    def begin(self) -> None:
        """Write the head and the free texts, or check that the cache there was begun alike."""
        before, encoder, prompts = read_head(self.folder), self.encoder, self.config.prompts
        head = CacheHead(
            layout=encoder.layout,
            vae=Path(self.config.vae.file).name,
            vae_hash=encoder.vae_hash,
            settings=_settings(self.config),
            prompts=prompts,
            shards=len(self.shards),
            pictures=self.found.digest,
        )
        if before is None:
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            _check_same(self.folder, before, head)
        texts = [self.encode_captions([prompt]) for prompt in prompts]
        write_texts(self.folder, self.encode_captions([""]), texts)
        write_head(self.folder, head)

    def write(self, number: int) -> None:
        """Encode and write one shard."""
        # Before they are read: what changes while they are is noticed by the next run.
        key = self.config.source.caption_key
        marks = {picture.name: mark_of(picture, key) for picture in self.shards[number]}
        left_out: dict[str, str] = {}
        entries: list[CachedPicture] = []
        latents: list[Tensor] = []
        texts: list[TextStates] = []
        for batch in self._batches(number, left_out):
            encoded = self._encode(torch.stack([part.variants for part in batch]))
            states = self.encode_captions([part.caption for part in batch])
            states = states.to("cpu", torch.float16)
            for row, part in enumerate(batch):
                if flaw := _flaw(encoded[row], states.row(row)):
                    left_out[part.picture.name] = flaw
                    continue
                height, width = encoded.shape[-2:]
                entries.append(
                    CachedPicture(part.picture.name, part.caption, height, width, encoded.shape[1])
                )
                latents.append(encoded[row])
                texts.append(states.row(row))
        for name, reason in left_out.items():
            _LOG.warning("leaving out %s: %s", name, reason)
        write_shard(shard_path(self.folder, number), entries, latents, texts, left_out, marks)

    def report(self) -> CacheReport:
        """What all shards hold together."""
        indices = [
            read_index(shard_path(self.folder, number)) for number in range(len(self.shards))
        ]
        left_out = {name: why for index in indices if index for name, why in index.left_out.items()}
        return CacheReport(sum(len(index.pictures) for index in indices if index), left_out)

    def _batches(self, number: int, left_out: dict[str, str]) -> Iterator[list[_Prepared]]:
        """The shard's pictures in batches of one size each."""
        waiting: dict[tuple[int, ...], list[_Prepared]] = {}
        for picture in self.shards[number]:
            try:
                prepared = self._prepare(picture)
            except (ValueError, OSError) as error:
                left_out[picture.name] = str(error)
                continue
            group = waiting.setdefault(tuple(prepared.variants.shape), [])
            group.append(prepared)
            if len(group) == self.config.work.batch_size:
                yield waiting.pop(tuple(prepared.variants.shape))
        yield from waiting.values()

    def _prepare(self, picture: CaptionedPicture) -> _Prepared:
        caption = picture.read_caption(self.config.source.caption_key)
        pixels = picture.read_picture()
        height, width = pixels.shape[-2:]
        size = nearest_bucket(height, width, self.buckets)
        if not self.config.images.enlarge and (height < size.height or width < size.width):
            raise ValueError(
                f"it has {width}x{height} pixels, fewer than its bucket {size.width}x{size.height}"
            )
        # By name: pictures that are added later move no windows of these.
        number = int.from_bytes(hashlib.sha256(picture.name.encode()).digest()[:8], "big")
        return _Prepared(picture, caption, _variants(pixels, size, self.config.images, number))

    @torch.no_grad()
    def _encode(self, variants: Tensor) -> Tensor:
        """uint8 [B, V, 3, H, W] -> float16 [B, V, C, h, w] on the CPU."""
        count = variants.shape[:2]
        images = from_bytes(variants.flatten(0, 1).to(self.device))
        precision = torch.bfloat16 if self.config.work.precision == "bf16" else torch.float32
        with torch.autocast(self.device.type, precision, enabled=precision is not torch.float32):
            encoded = self.encoder.encode(images)
        halves: Tensor = encoded.to("cpu", torch.float16).unflatten(0, count)  # type: ignore[no-untyped-call]
        return halves


def _variants(pixels: Tensor, size: Size, images: ImagesConfig, number: int) -> Tensor:
    """uint8 [V, 3, H, W]: the middle of the picture, then windows elsewhere, each also mirrored where wanted.

    `number` decides where the windows lie.
    """
    crops = [fill_and_crop(pixels, size)]
    random = numpy_generator(0, Stream.CROP, number)
    least = _SMALLEST_ZOOM if images.enlarge else max(_SMALLEST_ZOOM, _unenlarged(pixels, size))
    for _ in range(images.crops - 1):
        zoom = random.uniform(least, 1.0)
        across, down = random.random(), random.random()
        crops.append(fill_and_crop(_window(pixels, zoom, across, down), size, across, down))
    if images.flips:
        crops = [variant for crop in crops for variant in (crop, crop.flip(-1))]
    return torch.stack(crops)


def _unenlarged(pixels: Tensor, size: Size) -> float:
    """The share of a picture's sides that still fills its bucket without being enlarged."""
    height, width = pixels.shape[-2:]
    return max(size.height / height, size.width / width)


def _window(pixels: Tensor, zoom: float, across: float, down: float) -> Tensor:
    height, width = (max(1, round(side * zoom)) for side in pixels.shape[-2:])
    top = round((pixels.shape[-2] - height) * down)
    left = round((pixels.shape[-1] - width) * across)
    return pixels[:, top : top + height, left : left + width]


def _flaw(latents: Tensor, text: TextStates) -> str | None:
    if not torch.isfinite(latents).all():
        return "its latent is not finite"
    if not text.finite():
        return "its caption's text states are not finite"
    return None
