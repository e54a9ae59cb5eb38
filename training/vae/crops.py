"""Training crops: which picture and which window sample n of the run is, and the batches of each process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from davae_core.images import from_bytes

from ..engine.loaders import Once
from ..engine.randomness import Stream, numpy_generator
from ..engine.share import Share
from ..errors import TrainingError
from ..pictures import Picture, PictureSet, PictureStore, TarPicture, Unreadable, resize
from .config import DataConfig, VaeTrainingConfig
from .tar_sets import NO_TARS, BroughtTars
from .tar_windows import TarWindows

_MOST_SKIPS_IN_A_ROW = 100


@dataclass(frozen=True)
class Sample:
    """Sample `number` of the run: a crop, uint8 [3, crop, crop], and the unreadable files passed over to find it.

    Without any readable picture the crop is None; `failed` says why a tar file could not be brought.
    """

    number: int
    crop: Tensor | None
    skipped: tuple[Unreadable, ...]
    failed: str = ""


@dataclass(frozen=True)
class Batch:
    """Crops [B, 3, crop, crop] in [-1, 1], their sample numbers, the unreadable files met, and why one failed."""

    numbers: tuple[int, ...]
    images: Tensor
    skipped: tuple[Unreadable, ...]
    failed: str = ""


class CropDataset(Dataset[Sample]):
    """Sample n for any n >= 0: picture, window and flip are pure functions of the seed, n and the files.

    Without shares every epoch is a new permutation of all pictures, with `data.window_shards` one of tar files, and of
    the pictures in each window of them; with shares each sample draws its folder by share and a picture in it
    uniformly. An unreadable file is passed over for the next picture of the same order. Windows smaller than the crop
    are enlarged only with `data.enlarge`; without it the pictures must be as large as the crop (small_pictures.py).
    """

    def __init__(
        self,
        folders: Sequence[PictureSet],
        config: DataConfig,
        seed: int,
        tars: BroughtTars = NO_TARS,
    ) -> None:
        self.folders, self.config, self.seed, self._tars = tuple(folders), config, seed, tars
        self.pictures: tuple[Picture, ...] = tuple(
            picture for folder in folders for picture in folder.pictures
        )
        self.windows = TarWindows(self.pictures, seed, config.window_shards, tars)
        self._store = PictureStore(config.cache_mb)

    def __getitem__(self, number: int) -> Sample:
        random = numpy_generator(self.seed, Stream.CROP, number)
        skipped: list[Unreadable] = []
        for path in self._candidates(number, random):
            try:
                if isinstance(path, TarPicture):
                    self._tars.bring(path.file)
            except TrainingError as error:
                # Handed over, for an exception in a worker would arrive as a traceback.
                return Sample(number, None, tuple(skipped), str(error))
            found = self._store.read(path)
            if isinstance(found, Tensor):
                return Sample(number, self._crop(found, random), tuple(skipped))
            skipped.append(found)
        return Sample(number, None, tuple(skipped))

    def _candidates(self, number: int, random: np.random.Generator) -> Iterator[Picture]:
        tries = min(_MOST_SKIPS_IN_A_ROW, len(self.pictures))
        if self.config.window_shards:
            for step in range(tries):
                yield self.pictures[self.windows.picture(number + step)]
            return
        if self.config.shares is None:
            epoch, position = divmod(number, len(self.pictures))
            order = _permutation(self.seed, epoch, len(self.pictures))
            for step in range(tries):
                yield self.pictures[order[(position + step) % len(order)]]
            return
        shares = np.asarray(self.config.shares) / sum(self.config.shares)
        paths = self.folders[random.choice(len(self.folders), p=shares)].pictures
        start = int(random.integers(len(paths)))
        for step in range(min(tries, len(paths))):
            yield paths[(start + step) % len(paths)]

    def _crop(self, picture: Tensor, random: np.random.Generator) -> Tensor:
        height, width = picture.shape[-2:]
        unit = self.config.crop if self.config.window == "pixels" else min(height, width)
        scale = random.uniform(self.config.scale[0], self.config.scale[1])
        # With whole pictures a scale below 1 may ask for less than the crop has pixels.
        least = 1 if self.config.enlarge else self.config.crop
        side = min(max(least, round(unit * scale)), height, width)
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        window = picture[:, top : top + side, left : left + side]
        if side != self.config.crop:
            window = resize(window, self.config.crop, self.config.crop)
        if self.config.flip and random.random() < 0.5:
            window = window.flip(-1)
        return window


@lru_cache(maxsize=1)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return numpy_generator(seed, Stream.ORDER, epoch).permutation(count)


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples -> a batch in float32, the readable ones only."""
    found = [(sample.number, sample.crop) for sample in samples if sample.crop is not None]
    skipped = tuple(unreadable for sample in samples for unreadable in sample.skipped)
    crops = torch.stack([crop for _, crop in found]) if found else torch.empty(0)
    failed = next((sample.failed for sample in samples if sample.failed), "")
    return Batch(tuple(number for number, _ in found), from_bytes(crops), skipped, failed)


def check_whole(batch: Batch, size: int) -> None:
    """Raise TrainingError when a batch lacks samples because no picture, or no tar file, could be read.

    This is asked in the training process: an exception in a worker would arrive as a traceback.
    """
    if batch.failed:
        raise TrainingError(batch.failed)
    if len(batch.numbers) < size:
        raise TrainingError(
            f"Picture after picture could not be read, the last one {batch.skipped[-1].path}: look at the "
            "files in data.train."
        )


def crop_loader(
    dataset: CropDataset, numbers: Iterator[list[int]], workers: int
) -> DataLoader[Sample]:
    """Batches of the given sample numbers; `workers` processes read ahead, 0 reads in this one."""
    return DataLoader(
        dataset,
        batch_sampler=Once(numbers),
        num_workers=workers,
        collate_fn=collate,
        # A generator of its own: the loader must not draw from the global one.
        generator=torch.Generator(),
    )


def leading_crops(
    dataset: CropDataset, config: VaeTrainingConfig, count: int, device: torch.device
) -> Iterator[Tensor]:
    """The first `count` or so crops of the training order in batches, the same ones in every process."""
    size = config.train.batch_size
    batches = Share(size, accumulate=1, rank=0, processes=1).samples(0, -(-count // size))
    for batch in crop_loader(dataset, batches, config.data.workers):
        if batch.failed:
            raise TrainingError(batch.failed)
        yield batch.images.to(device)
