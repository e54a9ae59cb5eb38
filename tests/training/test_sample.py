"""`python -m training sample`: pictures that are functions of seed and number, on one process or two, gone on with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core.files import CheckpointError
from tests.training.class_fixtures import write_class_run
from tests.training.settings_file import write_settings_file
from tests.training.two_processes import on_two_processes
from training.__main__ import main
from training.dit.config import DitTrainingConfig
from training.dit.train import train_dit
from training.errors import TrainingError
from training.sample.config import SampleConfig, SamplesConfig
from training.sample.draw import class_of, draw_samples, picture_path
from training.settings.yaml_config import read_config


@pytest.fixture(scope="module")
def model(class_stack):
    """A widened class-conditional model, trained a little."""
    path = write_class_run(
        class_stack, "sampled", class_stack / "pretrained.safetensors", train__steps=3
    )
    written = train_dit(read_config(DitTrainingConfig, path))
    assert written is not None
    return written


@pytest.fixture
def write_sample(model, class_stack, tmp_path):
    """Writes a configuration of five samples; `section__key=value` changes it."""

    def write(name="out", **changes):
        settings = {
            "model": {"file": str(model), "vae": str(class_stack / "davae.safetensors")},
            "samples": {"count": 5},
            "work": {"device": "cpu", "precision": "fp32", "batch_size": 2},
            "output": {"folder": str(tmp_path / name)},
        }
        return write_settings_file(tmp_path / f"{name}.yaml", settings, changes)

    return write


def draw(path: Path) -> int:
    return draw_samples(read_config(SampleConfig, path))


def pixels(folder: Path, count: int) -> np.ndarray:
    read = [np.asarray(Image.open(picture_path(folder, n))).astype(int) for n in range(count)]
    return np.stack(read)


def test_a_stopped_set_goes_on_and_two_processes_draw_the_same(write_sample, tmp_path, one_thread):
    assert draw(write_sample("whole")) == 5
    assert draw(write_sample("parted", samples__count=2)) == 2
    picture_path(tmp_path / "parted", 0).unlink()
    assert draw(write_sample("parted", work__batch_size=3)) == 4
    on_two_processes(draw, write_sample("two"))
    whole = pixels(tmp_path / "whole", 5)
    assert whole.shape == (5, 16, 16, 3) and whole.std() > 1
    assert np.abs(whole - pixels(tmp_path / "parted", 5)).max() <= 1
    assert np.abs(whole - pixels(tmp_path / "two", 5)).max() <= 1
    assert len(list((tmp_path / "two").glob("*.png"))) == 5


def test_classes_are_drawn_or_taken_in_turn(write_sample, tmp_path):
    told = [class_of(SamplesConfig(seed=1), number, 1000) for number in range(400)]
    assert len(set(told)) > 300 and max(told) > 900 and min(told) < 100
    even = SamplesConfig(classes="even")
    assert [class_of(even, number, 3) for number in range(5)] == [0, 1, 2, 0, 1]
    only = SamplesConfig(classes="even", only=(7, 2))
    assert [class_of(only, number, 10) for number in range(3)] == [7, 2, 7]
    draw(write_sample("ape", samples__only=[0], samples__guidance=50.0))
    draw(write_sample("cat", samples__only=[2], samples__guidance=50.0))
    assert np.abs(pixels(tmp_path / "ape", 5) - pixels(tmp_path / "cat", 5)).max() > 2


def test_pictures_that_were_drawn_otherwise_are_not_mixed(write_sample, tmp_path):
    draw(write_sample("mixed", samples__count=1))
    with pytest.raises(TrainingError, match=r"drawn with guidance = 2.0, not 3.0"):
        draw(write_sample("mixed", samples__guidance=3.0))
    (tmp_path / "foreign").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "foreign" / "a.png")
    with pytest.raises(TrainingError, match="not drawn here"):
        draw(write_sample("foreign"))


def test_a_wrong_class_another_vae_and_another_file_are_refused(write_sample, class_stack):
    with pytest.raises(TrainingError, match="names the class 3, but"):
        draw(write_sample(samples__only=[3]))
    with pytest.raises(CheckpointError, match="not a class-conditional model"):
        draw(write_sample(model__file=str(class_stack / "davae.safetensors")))
    base = str(class_stack / "pretrained.safetensors")
    with pytest.raises(CheckpointError, match="base_vae"):
        draw(write_sample(model__vae=str(class_stack / "base_vae.safetensors")))
    with pytest.raises(TrainingError, match="latents of another VAE"):
        other = str(Path(base).with_name("other_vae.safetensors"))
        write_other_vae(Path(other))
        draw(write_sample(model__file=base, model__vae=other))


def write_other_vae(path: Path) -> None:
    from davae_core.codec.autoencoder import KLAutoencoder
    from davae_core.codec.files import save_base_vae
    from tests.training.dit_fixtures import BACKBONE, CHANNELS

    torch.manual_seed(99)
    save_base_vae(path, KLAutoencoder(BACKBONE, CHANNELS), shift=0.0, scale=1.0)


def test_the_command_says_how_many_it_drew(write_sample, capsys):
    path = write_sample("told", samples__count=1)
    assert main(["sample", str(path)]) == 0
    assert "1 of 1 pictures drawn in" in capsys.readouterr().out
    assert main(["sample", str(path), "--set", "samples.seed=4"]) == 1
    assert "drawn with seed = 0, not 4" in capsys.readouterr().err
