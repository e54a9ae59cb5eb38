"""The ImageNet codec at a small size: from VA-VAE's kind of file, all of the detail encoder trained, D = 3C."""

from pathlib import Path

import pytest
import torch

from davae_core.codec.files import load_codec
from tests.training.imagenet_files import BASE, CODEC, DETAIL, SIDE, write_vavae
from training.errors import TrainingError
from training.settings.yaml_config import override, read_config
from training.vae.config import VaeTrainingConfig
from training.vae.train import train_vae

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


@pytest.fixture
def small(pictures, tmp_path):
    """A recipe at a size that trains in seconds."""
    vavae = write_vavae(tmp_path / "vavae.pt")

    def read(recipe, **changes):
        places = {
            "model.base_vae": str(vavae),
            "data.train": [str(pictures / "train")],
            "validation.folders": [],
            "output.folder": str(tmp_path / "run"),
        }
        told = {**CODEC, **places, **changes}
        overrides = tuple(override(name, value) for name, value in told.items())
        return read_config(VaeTrainingConfig, CONFIGS / f"{recipe}.yaml", overrides)

    return read


@pytest.mark.parametrize("recipe", ["imagenet_codec", "published_imagenet"])
def test_two_steps_and_a_resume_leave_a_codec(recipe, small):
    config = small(recipe)
    assert train_vae(config, stop_at=1) is None
    codec = load_codec(train_vae(config))
    layout = codec.layout
    assert (layout.base_channels, layout.detail_channels, layout.factor) == (BASE, DETAIL, 32)
    assert codec.config.stem_order == "base_first" and codec.detail.trunk is not None
    latents = codec.encode(torch.rand(1, 3, SIDE, SIDE) * 2 - 1)
    assert latents.shape == (1, BASE + DETAIL, 2, 2)
    assert codec.decode(latents).shape == (1, 3, SIDE, SIDE)


def test_the_papers_codec_is_the_published_one_without_its_dropout():
    paper, published = (
        read_config(VaeTrainingConfig, CONFIGS / f"{name}.yaml")
        for name in ("imagenet_codec", "published_imagenet")
    )
    assert (paper.model.detail_dropout, published.model.detail_dropout) == (0.0, 0.1)
    assert paper.loss == published.loss and paper.optimizer == published.optimizer


def test_a_pickle_of_another_vae_is_refused(small):
    sizes = {"model.sizes.base_channels": 8, "model.sizes.detail_channels": 24}
    with pytest.raises(TrainingError, match="with 4 latent channels, but 8 are needed"):
        train_vae(small("imagenet_codec", **sizes))
