"""The second half of a cache job: the VAE encodes the pictures, and every shard is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import read_safetensors
from davae_core.images import from_bytes

from ..engine.progress import progress_bar
from .buckets import Size
from .caption_pass import Captions, read_waiting, waiting_path
from .captions import CaptionedPicture
from .config import CacheConfig
from .encoding import PictureEncoder, load_picture_encoder
from .latent_cache import text_of
from .marks import mark_of
from .remote_tars import RemoteTars
from .shard_files import CachedPicture, read_index, shard_path, write_shard
from .shard_plan import ShardWork
from .text_states import TextStates
from .windows import cut_windows

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prepared:
    picture: CaptionedPicture
    captions: Captions
    variants: Tensor


@dataclass(frozen=True)
class _Cached:
    """A picture as a shard holds it."""

    entry: CachedPicture
    latent: Tensor
    text: TextStates | None


@dataclass(frozen=True)
class PicturePass:
    """The pictures of a process's shards: shard by shard, bucket by bucket, batch by batch."""

    config: CacheConfig
    folder: Path
    device: torch.device
    remote: RemoteTars

    def run(self, works: Sequence[ShardWork], shown: bool) -> None:
        """Write the shards; `shown`: whether a bar is. Raises TrainingError or CheckpointError.

        The VAE is in memory only meanwhile, and not at all where there is no picture to encode.
        """
        total = sum(len(work.fresh) for work in works)
        encoder = load_picture_encoder(self.config.vae, self.device) if total else None
        with progress_bar(total, "pictures", "picture", shown) as bar:
            for work in works:
                with self.remote.holding(work.fresh):
                    self._write(work, encoder)
                bar.update(len(work.fresh))

    def _write(self, work: ShardWork, encoder: PictureEncoder | None) -> None:
        path = shard_path(self.folder, work.number)
        # Before they are read: what changes while they are is noticed by the next run.
        marks, left_out = self._marks(work, path), dict[str, str]()
        cached = _kept(path, work.kept)
        if encoder is not None:
            cached |= self._encoded(work, encoder, left_out, marks)
        for name, reason in left_out.items():
            _LOG.warning("leaving out %s: %s", name, reason)
        # In the order of the plan, whatever was kept and whatever shared a batch.
        found = [cached[picture.name] for picture in work.pictures if picture.name in cached]
        write_shard(
            path,
            [part.entry for part in found],
            [part.latent for part in found],
            [part.text for part in found],
            left_out,
            marks,
        )
        waiting_path(path).unlink(missing_ok=True)

    def _marks(self, work: ShardWork, path: Path) -> dict[str, str]:
        """By name; of what is kept those it had, if it had any: it is not read again."""
        index = read_index(path) if work.kept else None
        before = {} if index is None else index.marks
        key = self.config.source.caption_key
        return {
            picture.name: (picture.name in work.kept and before.get(picture.name))
            or mark_of(picture, key)
            for picture in work.pictures
        }

    def _encoded(
        self,
        work: ShardWork,
        encoder: PictureEncoder,
        left_out: dict[str, str],
        marks: dict[str, str],
    ) -> dict[str, _Cached]:
        """By name; what cannot be cached goes into `left_out` with its reason."""
        texts = self._texts(work)
        found = {}
        for batch in self._batches(work.fresh, left_out):
            encoded = self._encode(encoder, torch.stack([part.variants for part in batch]))
            for part, latent in zip(batch, encoded, strict=True):
                name, (captions, text) = part.picture.name, texts.get(part.picture.name, ((), None))
                if self.config.text.states == "cached" and captions != part.captions:
                    left_out[name] = "its caption changed meanwhile: run the same command again"
                    marks[name] = ""
                elif flaw := _flaw(latent, text):
                    left_out[name] = flaw
                else:
                    variants, (height, width) = len(latent), latent.shape[-2:]
                    entry = CachedPicture(name, part.captions, height, width, variants)
                    found[name] = _Cached(entry, latent, text)
        return found

    def _texts(self, work: ShardWork) -> dict[str, tuple[Captions, TextStates | None]]:
        """The captions that were encoded and their states, by the name of their picture."""
        if self.config.text.states == "live":
            return {}
        waiting = read_waiting(shard_path(self.folder, work.number))
        if waiting is None:
            return {}
        return {name: (waiting.captions[name], states) for name, states in waiting.by_name()}

    def _batches(
        self, pictures: Sequence[CaptionedPicture], left_out: dict[str, str]
    ) -> Iterator[list[_Prepared]]:
        """The pictures in batches of one size each."""
        waiting: dict[tuple[int, ...], list[_Prepared]] = {}
        for picture in pictures:
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
        captions = picture.read_captions(self.config.source.caption_key)
        pixels = picture.read_picture()
        variants = cut_windows(pixels, picture.name, self.config.images, self._buckets)
        return _Prepared(picture, captions, variants)

    @cached_property
    def _buckets(self) -> tuple[Size, ...]:
        return self.config.images.buckets()

    @torch.no_grad()
    def _encode(self, encoder: PictureEncoder, variants: Tensor) -> Tensor:
        """uint8 [B, V, 3, H, W] -> float16 [B, V, C, h, w] on the CPU."""
        count = variants.shape[:2]
        images = from_bytes(variants.flatten(0, 1).to(self.device))
        precision = torch.bfloat16 if self.config.work.precision == "bf16" else torch.float32
        with torch.autocast(self.device.type, precision, enabled=precision is not torch.float32):
            encoded = encoder.encode(images)
        halves: Tensor = encoded.to("cpu", torch.float16).unflatten(0, count)  # type: ignore[no-untyped-call]
        return halves


def _kept(path: Path, rows: Mapping[str, int]) -> dict[str, _Cached]:
    """What the shard at `path` holds of pictures that did not change, by name."""
    if not rows:
        return {}
    index = read_index(path)
    assert index is not None
    tensors, _ = read_safetensors(path)
    found = {}
    for name, row in rows.items():
        latent = tensors[f"latent.{row}"]
        text = text_of(tensors.__getitem__, tensors, str(row)) if f"clip.{row}" in tensors else None
        found[name] = _Cached(index.pictures[row], latent, text)
    return found


def _flaw(latents: Tensor, text: TextStates | None) -> str | None:
    if not torch.isfinite(latents).all():
        return "its latent is not finite"
    if text is not None and not text.finite():
        return "its caption's text states are not finite"
    return None
