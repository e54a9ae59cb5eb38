from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.engine.share import Share
from training.errors import TrainingError
from training.pictures import scan_folders
from training.vae.config import DataConfig
from training.vae.crops import CropDataset, check_whole, collate, crop_loader


def dataset(folders: list[Path], seed: int = 0, **settings: object) -> CropDataset:
    names = tuple(str(folder) for folder in folders)
    defaults = {"crop": 16, "window": "pixels", "scale": (1.0, 1.0), "flip": True}
    config = DataConfig(train=names, **{**defaults, **settings})  # type: ignore[arg-type]
    return CropDataset(scan_folders(names, "data.train"), config, seed)


def plain_folder(folder: Path, colours: list[int], size: tuple[int, int] = (32, 32)) -> Path:
    folder.mkdir()
    for index, colour in enumerate(colours):
        Image.new("RGB", size, (colour, colour, colour)).save(folder / f"{index}.png")
    return folder


def test_a_sample_depends_on_the_seed_and_its_number_only(pictures: Path) -> None:
    first, second = dataset([pictures / "train"]), dataset([pictures / "train"])
    backwards = {number: second[number].crop for number in reversed(range(20))}
    assert all(torch.equal(first[number].crop, backwards[number]) for number in range(20))
    other = dataset([pictures / "train"], seed=1)
    assert any(not torch.equal(first[number].crop, other[number].crop) for number in range(5))


def test_every_epoch_shows_every_picture_once_in_another_order(tmp_path: Path) -> None:
    found = dataset([plain_folder(tmp_path / "a", [0, 10, 20, 30, 40])])
    epochs = [[int(found[5 * epoch + n].crop[0, 0, 0]) for n in range(5)] for epoch in range(4)]
    assert all(sorted(epoch) == [0, 10, 20, 30, 40] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_shares_decide_how_often_a_folder_is_drawn(tmp_path: Path) -> None:
    many, few = plain_folder(tmp_path / "many", [10] * 9), plain_folder(tmp_path / "few", [200])
    found = dataset([many, few], shares=(0.25, 0.75), cache_mb=1)
    drawn = [int(found[number].crop[0, 0, 0]) for number in range(400)]
    assert 0.68 < drawn.count(200) / 400 < 0.82


def test_windows_of_pixels_are_cut_without_resampling(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a" / "ramp.png")
    crop = dataset([tmp_path / "a"])[0].crop[0]
    assert crop[:, 0].diff().tolist() == [1] * 15


def test_windows_of_a_fraction_grow_with_the_picture(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a" / "ramp.png")
    found = dataset([tmp_path / "a"], window="fraction", scale=(1.0, 1.0))
    crop = found[0].crop[0].int()
    assert crop.shape == (16, 16)
    assert crop[-1, 0] - crop[0, 0] > 200


def test_a_picture_smaller_than_the_crop_is_enlarged_where_that_is_wished(tmp_path: Path) -> None:
    found = dataset([plain_folder(tmp_path / "a", [7], size=(9, 12))], enlarge=True)
    assert torch.equal(found[0].crop, torch.full((3, 16, 16), 7, dtype=torch.uint8))


def test_no_window_of_a_large_enough_picture_is_enlarged(tmp_path: Path) -> None:
    """Lines of one pixel stay as sharp as they are."""
    (tmp_path / "a").mkdir()
    lines = np.zeros((18, 20, 3), dtype=np.uint8)
    lines[::2] = 255
    Image.fromarray(lines).save(tmp_path / "a" / "lines.png")
    sharp, enlarged = (
        dataset([tmp_path / "a"], window="fraction", scale=(0.5, 0.5), enlarge=wished)
        for wished in (False, True)
    )
    for number in range(5):
        crop = sharp[number].crop.float()
        assert crop.shape == (3, 16, 16)
        assert (crop.diff(dim=1).abs() == 255).all()
        assert (enlarged[number].crop.float().diff(dim=1).abs() < 255).any()


def test_flips_come_about_half_the_time_and_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.linear_gradient("L").rotate(90).convert("RGB").save(tmp_path / "a" / "ramp.png")

    def flipped(flip: bool) -> int:
        found = dataset([tmp_path / "a"], flip=flip)
        return sum(int(found[n].crop[0, 0, 0]) > int(found[n].crop[0, 0, -1]) for n in range(60))

    assert 15 < flipped(True) < 45
    assert flipped(False) == 0


def test_a_damaged_picture_is_passed_over_and_reported(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "a", [50, 60, 70])
    (folder / "bad.png").write_bytes(b"no picture")
    found = dataset([folder])
    samples = [found[number] for number in range(4)]
    reported = [unreadable.path.name for sample in samples for unreadable in sample.skipped]
    assert reported == ["bad.png"]
    assert {int(sample.crop[0, 0, 0]) for sample in samples} == {50, 60, 70}


@pytest.mark.parametrize("workers", [0, 1])
def test_only_damaged_pictures_end_in_one_sentence(tmp_path: Path, workers: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    share = Share(size=2, accumulate=1, rank=0, processes=1)
    (batch,) = crop_loader(dataset([tmp_path / "a"]), share.samples(0, 1), workers)
    with pytest.raises(TrainingError, match=r"could not be read, the last one .*bad\.png: look"):
        check_whole(batch, size=2)  # type: ignore[arg-type]


def test_a_batch_is_in_the_range_of_the_codec(tmp_path: Path) -> None:
    found = dataset([plain_folder(tmp_path / "a", [0, 255])])
    batch = collate([found[0], found[1]])
    assert batch.numbers == (0, 1)
    assert sorted(batch.images[:, 0, 0, 0].tolist()) == [-1.0, 1.0]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_numbered_samples_with_and_without_workers(
    pictures: Path, workers: int
) -> None:
    found = dataset([pictures / "train"])
    share = Share(size=2, accumulate=1, rank=0, processes=1)
    batches = list(crop_loader(found, share.samples(1, 4), workers))
    assert [batch.numbers for batch in batches] == [(2, 3), (4, 5), (6, 7)]  # type: ignore[attr-defined]
    assert torch.equal(batches[0].images, collate([found[2], found[3]]).images)  # type: ignore[attr-defined]
