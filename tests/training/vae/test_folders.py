"""Pictures to train on, to hold out and to write must not be mixed up."""

from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.vae.folders import check_apart
from training.vae.train import train_vae


def test_folders_side_by_side_are_fine(tmp_path: Path) -> None:
    check_apart([str(tmp_path / "a")], [str(tmp_path / "ab")], str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("training", "validation"), [("a", "a"), ("a", "a/val"), ("a/train", "a"), ("b/../a", "a")]
)
def test_held_out_pictures_are_not_trained_on(
    training: str, validation: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"data\.train names .* and validation\.folders"):
        check_apart([str(tmp_path / training)], [str(tmp_path / validation)], str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("link", "target"), [("a/more", "val"), ("val/more", "a/deep"), ("a/up", ".")]
)
def test_a_link_mixes_no_pictures_up_either(link: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True), (tmp_path / "val").mkdir()
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(TrainingError, match=r"which lie in one another"):
        check_apart([str(tmp_path / "a")], [str(tmp_path / "val")], str(tmp_path / "run"))


@pytest.mark.parametrize("output", ["a", "a/run"])
@pytest.mark.parametrize("key", ["data.train", "validation.folders"])
def test_a_run_does_not_write_where_it_reads(key: str, output: str, tmp_path: Path) -> None:
    here, there = [str(tmp_path / "a")], [str(tmp_path / "b")]
    training, validation = (here, there) if key == "data.train" else (there, here)
    with pytest.raises(TrainingError, match=f"output.folder is .* where {key}"):
        check_apart(training, validation, str(tmp_path / output))


def test_a_training_folder_that_is_where_a_run_shows_its_pictures_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match=r"choose another output\.folder"):
        check_apart([str(tmp_path / "run" / "pictures")], [], str(tmp_path / "run"))


def test_a_run_asks_before_it_starts(make_config: Any, pictures: Path) -> None:
    with pytest.raises(TrainingError, match="lie in one another"):
        train_vae(make_config(validation__folders=[str(pictures)]))
