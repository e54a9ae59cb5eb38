"""Pictures of stage 1 that are smaller than a crop: found before the training, and left out or told of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from davae_core.files import write_text
from davae_core.images import ImageError, read_size

from ..errors import TrainingError
from ..pictures import Picture, PictureFolder, PictureSet, TarPicture, TarSet, spelled
from .config import DataConfig

_LOG = logging.getLogger(__name__)
_NAMED = 3
LIST = "small_pictures.tsv"


@dataclass(frozen=True)
class SmallPicture:
    """A picture whose shorter side has fewer pixels than a crop; the path is text."""

    path: str
    height: int
    width: int


def pictures_for_crops(
    folders: Sequence[PictureSet], config: DataConfig, output: Path, accelerator: Accelerator
) -> tuple[PictureSet, ...]:
    """The pictures without those that are smaller than `data.crop`, or with them under `data.enlarge`.

    One log line says how many they are and names the first, `output`/small_pictures.tsv all of them. The processes
    share the looking; pictures that cannot be read stay, for whoever reads them to say so. Raises TrainingError when a
    folder has no other picture.
    """
    paths = [path for folder in folders for path in folder.pictures]
    rank, processes = accelerator.process_index, accelerator.num_processes
    # Of a million pictures this takes minutes.
    own = tqdm(paths[rank::processes], desc="sizes", delay=2, disable=rank > 0)
    found = small_pictures(own, config.crop)
    found = gather_object(found) if processes > 1 else found
    if not found:
        return tuple(folders)
    found = sorted(found, key=lambda picture: picture.path)
    if accelerator.is_main_process:
        _tell(found, len(paths), config, output)
    if config.enlarge:
        return tuple(folders)
    small = {picture.path for picture in found}
    return tuple(_without(folder, small, config.crop) for folder in folders)


def small_pictures(pictures: Iterable[Picture], crop: int) -> list[SmallPicture]:
    """Those of the pictures that have a side of fewer than `crop` pixels, by what their files say first."""
    found = []
    for picture in pictures:
        try:
            height, width = _size_of(picture)
        except (ImageError, OSError):
            continue
        if 0 < min(height, width) < crop:
            found.append(SmallPicture(spelled(picture), height, width))
    return found


def _size_of(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, TarPicture):
        return picture.height, picture.width
    return read_size(picture)


def _without(folder: PictureSet, small: set[str], crop: int) -> PictureSet:
    kept: PictureSet
    if isinstance(folder, TarSet):
        kept = TarSet(folder.name, tuple(p for p in folder.pictures if spelled(p) not in small))
    else:
        kept = PictureFolder(
            folder.folder, tuple(path for path in folder.paths if spelled(path) not in small)
        )
    if not kept.pictures:
        raise TrainingError(
            f"data.train names {folder.name}, where every picture is smaller than data.crop, {crop} pixels: collect "
            "larger ones, lower data.crop, or set data.enlarge to true, which trains on enlarged pictures."
        )
    return kept


def _tell(found: Sequence[SmallPicture], pictures: int, config: DataConfig, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    lines = (f"{part.path}\t{part.width}x{part.height}\n" for part in found)
    write_text(output / LIST, "".join(lines))
    _LOG.warning(
        "%d of %d pictures are smaller than data.crop, %d pixels, and are %s: %s (all in %s)",
        len(found),
        pictures,
        config.crop,
        "enlarged, which trains blur" if config.enlarge else "left out",
        ", ".join(part.path for part in found[:_NAMED]) + (" …" if len(found) > _NAMED else ""),
        output / LIST,
    )
