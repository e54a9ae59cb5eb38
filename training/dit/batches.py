"""Batches of stage 2: which pictures, noise, levels and dropped captions sample n of the run has, from caches alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from davae_core.files import CheckpointError
from davae_core.flow import sample_sigmas
from davae_core.transformer.description import Mode

from ..cache.latent_cache import LatentCache
from ..cache.shard_files import shard_path
from ..cache.text_states import TextStates, stack
from ..engine.loaders import Once
from ..engine.order import BatchOrder
from ..engine.randomness import Stream, number_generator, numpy_generator, sample_noise
from ..engine.shard_windows import ShardWindows
from ..errors import TrainingError
from .config import FlowLossConfig

Batch = TypeVar("Batch")
_WIDER = 2**32
"""More cells than any latent is wide."""


@dataclass(frozen=True)
class LatentBatch:
    """Sample numbers, latents [B, C + D, h, w] in VAE space and their texts, both as the caches hold them.

    `text`: the captions themselves, the empty one where it was dropped, from caches without text states.
    """

    numbers: tuple[int, ...]
    latents: Tensor
    text: TextStates | tuple[str, ...]

    def pin_memory(self) -> LatentBatch:
        """In memory from which a GPU takes it while the processor goes on; DataLoader calls this by its name."""
        text = self.text.pin_memory() if isinstance(self.text, TextStates) else self.text
        return LatentBatch(self.numbers, self.latents.pin_memory(), text)


class LatentBatches(Dataset[LatentBatch | TrainingError]):
    """Batch m of the run, for any m >= 0, a pure function of the seed, m and the caches.

    Pictures of one latent size share a batch, in the order that order.py tells of; `window`: the shards of one.
    """

    def __init__(
        self,
        caches: Sequence[LatentCache],
        size: int,
        seed: int,
        caption_dropout: float,
        window: int = 0,
    ) -> None:
        self.size, self.seed, self._dropout = size, seed, caption_dropout
        self.caches = tuple(caches)
        self._ends = np.cumsum([len(cache.pictures) for cache in caches])
        self._empty = caches[0].empty_text()
        self.buckets = self._sizes()
        self._first_shards = np.cumsum([0, *(cache.head.shards for cache in caches)])
        buckets = list(self.buckets.values())
        self.windows = ShardWindows(buckets, self._shards(), seed, window) if window else None
        self.order = BatchOrder(buckets, size, seed, self.windows)

    def __len__(self) -> int:
        """Pictures in all."""
        return int(self._ends[-1])

    @property
    def is_remote(self) -> bool:
        """Whether a cache is at an address, so that its shards must be brought."""
        return any(cache.remote is not None for cache in self.caches)

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.order.per_epoch

    def window_of(self, number: int) -> int:
        """In which window of shards, counted over the whole run, batch `number` is."""
        return self.order.window_of(number)

    def files_of(self, window: int) -> list[Path]:
        """Where on this disk the shards of a window belong that lie at addresses; none where there are no windows."""
        found = []
        for number in () if self.windows is None else self.windows.shards(window):
            which = int(np.searchsorted(self._first_shards, number, side="right")) - 1
            cache = self.caches[which]
            if cache.remote is not None:
                found.append(shard_path(cache.folder, number - self._first_shards[which]))
        return found

    def bring(self, file: Path) -> None:
        """See to it that a shard is here. Raises TrainingError when it cannot be brought or is another one."""
        next(cache for cache in self.caches if cache.folder == file.parent).bring(file)

    def let_go(self, kept: Collection[Path]) -> None:
        """Remove the shards that were brought, but those to be `kept`."""
        for cache in self.caches:
            cache.let_go(kept)

    @property
    def commonest_size(self) -> tuple[int, int]:
        """Height and width of the latents that most pictures have."""
        return max(self.buckets, key=lambda size: len(self.buckets[size]))

    def batch(self, number: int, part: slice = slice(None)) -> LatentBatch:
        """The samples `part` of batch `number`."""
        rows = self.order.rows(number)[part]
        first = number * self.size + (part.start or 0)
        numbers = tuple(range(first, first + len(rows)))
        read = [self._sample(int(row), n) for row, n in zip(rows, numbers, strict=True)]
        latents = torch.stack([latent for latent, _, _ in read])
        states = [text for _, text, _ in read if text is not None]
        # check_alike lets no caches together of which some have text states and some have not.
        text = stack(states) if states else tuple(caption for _, _, caption in read)
        return LatentBatch(numbers, latents, text)

    def __getitem__(self, wanted: tuple[int, slice]) -> LatentBatch | TrainingError:
        # Handed over, for an exception in a worker would arrive as a traceback.
        try:
            return self.batch(*wanted)
        except (TrainingError, CheckpointError) as error:
            return TrainingError(str(error))

    def _sample(self, row: int, number: int) -> tuple[Tensor, TextStates | None, str]:
        """A latent, and the states of one of its captions or, where there are none, the caption."""
        which = int(np.searchsorted(self._ends, row, side="right"))
        cache = self.caches[which]
        place = row - (int(self._ends[which - 1]) if which else 0)
        variants, text = cache.read(place)
        random = numpy_generator(self.seed, Stream.CROP, number)
        latent = variants[int(random.integers(len(variants)))]
        dropped = numpy_generator(self.seed, Stream.DROPOUT, number).random() < self._dropout
        drawn = numpy_generator(self.seed, Stream.CAPTION, number)
        caption = int(drawn.integers(cache.pictures.captions(place)))
        if text is None:
            return latent, None, "" if dropped else cache.pictures.caption(place, caption)
        return latent, self._empty if dropped else text.row(caption), ""

    def _sizes(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        """The rows of each size, sorted."""
        heights = np.concatenate([cache.pictures.heights for cache in self.caches])
        widths = np.concatenate([cache.pictures.widths for cache in self.caches])
        # As one number a picture, of which ten million are sorted in a second.
        sizes = heights.astype(np.int64) * _WIDER + widths
        return {
            divmod(size, _WIDER): np.flatnonzero(sizes == size)
            for size in np.unique(sizes).tolist()
        }

    def _shards(self) -> NDArray[np.int64]:
        """Of each row its shard, counted over all caches."""
        firsts = zip(self._first_shards, self.caches, strict=False)
        return np.concatenate([first + cache.pictures.shards for first, cache in firsts])


def read_in_order(
    batches: Dataset[Batch | TrainingError],
    parts: Iterator[tuple[int, slice]],
    workers: int,
    pinned: bool = False,
) -> Iterator[Batch]:
    """The given batches in order; `workers` processes read ahead, 0 reads in this one.

    `pinned`: in memory from which a GPU takes them while the processor goes on. Raises TrainingError when a batch
    cannot be read.
    """
    loader: DataLoader[Batch | TrainingError] = DataLoader(
        batches,
        batch_size=None,
        sampler=Once(parts),
        num_workers=workers,
        pin_memory=pinned,
        # A generator of its own: the loader must not draw from the global one.
        generator=torch.Generator(),
    )
    # The workers start now, before there are threads that bring shards.
    return _or_raised(iter(loader))


def _or_raised(batches: Iterator[Batch | TrainingError]) -> Iterator[Batch]:
    for found in batches:
        if isinstance(found, TrainingError):
            raise found
        yield found


def noise_and_levels(seed: int, batch: LatentBatch, loss: FlowLossConfig) -> tuple[Tensor, Tensor]:
    """Noise like the batch's latents and noise levels [B], row i a function of the seed and the sample's number."""
    noise = sample_noise(seed, batch.numbers, tuple(batch.latents.shape[1:]))
    return noise, _levels(seed, batch, loss, Stream.LEVEL)


def base_levels(
    seed: int, batch: LatentBatch, sigma: Tensor, mode: Mode, loss: FlowLossConfig
) -> Tensor:
    """Noise levels [B] of the base channels where the sample's, which the transformer is told, are `sigma` [B].

    In a detail pass anything from 0 to `base_noise`, a function of the seed and the sample's number: a base that is
    clean, as drawing gives it, is within what was trained, and so is one a little off.
    """
    if mode == "joint":
        return (
            sigma if loss.base_levels == "shared" else _levels(seed, batch, loss, Stream.BASE_LEVEL)
        )
    shares = [numpy_generator(seed, Stream.BASE_LEVEL, n).random() for n in batch.numbers]
    return loss.base_noise * torch.tensor(shares, dtype=torch.float32)


def _levels(seed: int, batch: LatentBatch, loss: FlowLossConfig, stream: Stream) -> Tensor:
    published = loss.levels == "published"
    levels = [
        sample_sigmas(
            1, loss.shift, number_generator(seed, stream, number), published_grid=published
        )
        for number in batch.numbers
    ]
    return torch.cat(levels)
