"""Deterministic validation on held-out pictures: posterior means, fixed crops, numbers and side-by-side pictures."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core.disk.leftovers import beside, remove_left_overs
from davae_core.images import from_bytes, read_bytes, write_image
from davae_core.latents import crop_to_multiple
from davae_core.metrics import psnr, ssim

from ..errors import TrainingError
from ..pictures import scan_folders
from .config import ValidationConfig
from .trainees import Evaluation, Trainee

_LOG = logging.getLogger(__name__)
_DIFFERENCE_GAIN = 4.0
# SSIM looks through a window of 11 pixels.
_LEAST_SIDE = 11


@dataclass(frozen=True)
class HeldOut:
    """A held-out picture, [1, 3, H, W] in [-1, 1], its sides multiples of what the codec needs."""

    path: Path
    image: Tensor


def read_validation_set(config: ValidationConfig, multiple: int) -> tuple[HeldOut, ...]:
    """The first pictures of the validation folders in path order, cut centrally to at most `size` pixels a side.

    Pictures that cannot be read or are smaller than one multiple are passed over with a warning. Raises TrainingError
    for a missing folder, and when no picture is left.
    """
    pictures: list[HeldOut] = []
    folders = scan_folders(config.folders, "validation.folders")
    for path in (path for part in folders for path in part.paths):
        if len(pictures) == config.pictures:
            break
        try:
            read = read_bytes(path)
            pictures.append(HeldOut(path, _central_crop(read, config.size, multiple)))
        except (ValueError, OSError) as error:
            _LOG.warning("validation passes over %s: %s", path, error)
    if not pictures:
        raise TrainingError(
            "validation.folders hold no picture that can be used: check the folders."
        )
    return tuple(pictures)


def _central_crop(picture: Tensor, size: int, multiple: int) -> Tensor:
    height, width = picture.shape[-2:]
    rows, columns = min(height, size), min(width, size)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = from_bytes(picture[None, :, top : top + rows, left : left + columns])
    cropped = crop_to_multiple(image, multiple)
    if min(cropped.shape[-2:]) < _LEAST_SIDE:
        raise ValueError(f"The picture is {width}x{height} pixels, too small to be validated on.")
    return cropped


@dataclass(frozen=True)
class Measured:
    """What was found of held-out pictures.

    `numbers`, of each: psnr, ssim, and where they exist kl (nats per value), alignment, base_psnr. `rows`: of those
    that are shown the picture side by side with what was made of it, on the CPU, by path.
    """

    numbers: list[dict[str, float]]
    rows: dict[Path, Tensor]


@torch.no_grad()
def measure(
    trainee: Trainee,
    pictures: Sequence[HeldOut],
    device: torch.device,
    shown: Collection[Path] = (),
) -> Measured:
    """Rebuild each picture once, for its numbers and, where its path is among `shown`, its row."""
    numbers, rows = [], {}
    for held in pictures:
        image = held.image.to(device)
        found = trainee.evaluate(image)
        numbers.append(_numbers(found, image))
        if held.path in shown:
            rows[held.path] = _row(found, image).cpu()
    return Measured(numbers, rows)


def _numbers(found: Evaluation, image: Tensor) -> dict[str, float]:
    numbers = {
        "psnr": float(psnr(found.reconstruction.float(), image)[0]),
        "ssim": float(ssim(found.reconstruction.float(), image)[0]),
    }
    if found.kl is not None:
        numbers["kl"] = float(found.kl)
    if found.alignment is not None:
        numbers["alignment"] = float(found.alignment)
    if found.draft is not None:
        numbers["base_psnr"] = float(psnr(_enlarged(found.draft, image), image)[0])
    return numbers


def means(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over pictures."""
    return {name: sum(row[name] for row in numbers) / len(numbers) for name in numbers[0]}


@torch.no_grad()
def write_side_by_side(
    trainee: Trainee,
    pictures: Sequence[HeldOut],
    device: torch.device,
    folder: Path,
    rows: Mapping[Path, Tensor] | None = None,
) -> None:
    """One PNG per picture: original | base alone, enlarged | reconstruction | four times the difference.

    `folder` has its name when all of them are in it. `rows`: those that `measure` has made with the same weights.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(folder.parent)
    part = beside(folder)
    part.mkdir()
    try:
        _write_rows(trainee, pictures, device, part, rows or {})
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_rows(
    trainee: Trainee,
    pictures: Sequence[HeldOut],
    device: torch.device,
    folder: Path,
    rows: Mapping[Path, Tensor],
) -> None:
    for index, held in enumerate(pictures):
        row = rows.get(held.path)
        if row is None:
            row = measure(trainee, [held], device, (held.path,)).rows[held.path]
        # As in stage 2, a model that diverged has no pictures, and goes on.
        if torch.isfinite(row).all():
            write_image(folder / f"{index:02d}_{held.path.stem}.png", row)
        else:
            _LOG.warning("no picture of %s: the codec's is not finite", held.path)


def _row(found: Evaluation, image: Tensor) -> Tensor:
    made = found.reconstruction.float()
    difference = ((made - image) * _DIFFERENCE_GAIN).clamp(-1, 1)
    columns = [image, made, difference]
    if found.draft is not None:
        columns.insert(1, _enlarged(found.draft, image))
    return torch.cat(columns, dim=3)


def _enlarged(draft: Tensor, like: Tensor) -> Tensor:
    size = (like.shape[-2], like.shape[-1])
    return F.interpolate(draft.float(), size=size, mode="bicubic", align_corners=False).clamp(-1, 1)
