"""Pictures smaller than a crop: found at the start, left out or told of."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from tests.training.conftest import ConfigReader
from tests.training.two_processes import on_two_processes
from training.engine.checkpointing import RunState
from training.engine.processes import make_accelerator
from training.engine.resuming import check_resumable
from training.errors import TrainingError
from training.pictures import scan_folders
from training.settings.yaml_config import read_config
from training.vae.config import DataConfig, VaeTrainingConfig
from training.vae.small_pictures import LIST, SmallPicture, pictures_for_crops, small_pictures
from training.vae.train import VaeTraining

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def test_a_picture_is_small_by_its_shorter_side_as_it_is_shown(tmp_path: Path) -> None:
    lying = Image.new("RGB", (40, 15))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGB", (16, 16)).save(tmp_path / "fits.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = small_pictures(sorted(tmp_path.iterdir()), crop=16)
    assert found == [SmallPicture(str(tmp_path / "turned.jpg"), height=40, width=15)]


def test_small_pictures_are_left_out_counted_and_named(
    make_config: ConfigReader, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("x", "y"):
        Image.new("RGB", (40, 15)).save(pictures / "train" / f"{name}.png")
    config = make_config(data__enlarge=False, data__scale=[1.0, 1.2], train__steps=1)
    with caplog.at_level(logging.WARNING):
        training = VaeTraining(config)
    assert [len(folder.paths) for folder in training.folders] == [7]
    (line,) = [found for found in caplog.messages if "smaller than data.crop" in found]
    assert line.startswith("2 of 9 pictures are smaller than data.crop, 16 pixels, and are left")
    assert str(pictures / "train" / "x.png") in line
    listed = (Path(config.output.folder) / LIST).read_text(encoding="utf-8").splitlines()
    assert listed == [f"{pictures / 'train' / name}.png\t40x15" for name in ("x", "y")]


def look(pictures: Path, output: Path) -> None:
    """In one of several processes."""
    names = (str(pictures / "train"),)
    config = DataConfig(train=names, crop=16, window="pixels", scale=(1.0, 1.0))
    found = scan_folders(names, "data.train")
    kept = pictures_for_crops(found, config, output, make_accelerator("cpu", "fp32"))
    assert [len(folder.paths) for folder in kept] == [7]


@pytest.mark.usefixtures("one_thread")
def test_processes_that_share_the_looking_find_the_same(pictures: Path, tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        Image.new("RGB", (40, 15)).save(pictures / "train" / f"{name}.png")
    on_two_processes(look, pictures, tmp_path)
    listed = (tmp_path / LIST).read_text(encoding="utf-8").splitlines()
    assert [Path(line.split("\t")[0]).stem for line in listed] == ["x", "y", "z"]


def test_enlarged_pictures_are_told_of(
    make_config: ConfigReader, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (40, 15)).save(pictures / "train" / "x.png")
    with caplog.at_level(logging.WARNING):
        training = VaeTraining(make_config())
    assert [len(folder.paths) for folder in training.folders] == [8]
    assert any("1 of 8 pictures" in line and "are enlarged" in line for line in caplog.messages)


def test_a_folder_of_small_pictures_alone_is_refused(make_config: ConfigReader) -> None:
    with pytest.raises(TrainingError, match=r"every picture is smaller than data\.crop, 64 pixels"):
        VaeTraining(make_config(data__enlarge=False, data__scale=[1.0, 1.2], data__crop=64))


def test_windows_below_the_crop_are_refused_where_nothing_is_enlarged() -> None:
    with pytest.raises(TrainingError, match=r"data\.scale begins at 0\.9, .* or set data\.enlarge"):
        DataConfig(train=("a",), window="pixels", scale=(0.9, 1.0))


def test_a_run_that_was_begun_before_the_setting_goes_on_only_as_it_was() -> None:
    state = RunState(config={"data.crop": 16}, samples_per_step=4)
    check_resumable(state, {"data.crop": 16, "data.enlarge": True}, 4, "")
    with pytest.raises(TrainingError, match=r"data\.enlarge is False, but .* trained with True"):
        check_resumable(state, {"data.crop": 16, "data.enlarge": False}, 4, "")


@pytest.mark.parametrize("name", ["paper", "published_imagenet", "mini_base", "mini_davae"])
def test_the_recipes_enlarge_as_they_always_did(name: str) -> None:
    assert read_config(VaeTrainingConfig, CONFIGS / f"{name}.yaml").data.enlarge
