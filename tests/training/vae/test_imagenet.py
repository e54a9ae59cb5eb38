"""The ImageNet codec at a small size: from VA-VAE's kind of file, all of the detail encoder trained, D = 3C."""

from pathlib import Path

import pytest
import torch

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_codec
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig
from training.vae.train import train_vae

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
WIDTHS = (32,) * 5


@pytest.fixture
def vavae(tmp_path):
    torch.manual_seed(0)
    backbone = KLConfig(WIDTHS, 1, norm_groups=32, attention_levels=(4,), quant_conv=True)
    path = tmp_path / "vavae.pt"
    torch.save({"state_dict": KLAutoencoder(backbone, 4).state_dict()}, path)
    return path


def small(recipe, vavae, pictures, folder, *more):
    """A recipe at a size that trains in seconds; LPIPS, whose weights nobody has here, is off."""
    changes = {
        "model.base_vae": vavae,
        "model.sizes.widths": list(WIDTHS),
        "model.sizes.res_blocks": 1,
        "model.sizes.base_channels": 4,
        "model.sizes.detail_channels": 12,
        "data.train": [str(pictures / "train")],
        "data.crop": 64,
        "data.workers": 0,
        "loss.perceptual": "none",
        "loss.gan.channels": 8,
        "loss.gan.start_step": 1,
        "train.device": "cpu",
        "train.precision": "fp32",
        "train.steps": 2,
        "train.batch_size": 2,
        "train.statistics_samples": 4,
        "validation.folders": [],
        "output.folder": folder,
        "output.tensorboard": "false",
        "output.checkpoint_every": 1,
    }
    told = tuple(f"{name}={value}" for name, value in changes.items())
    return read_config(VaeTrainingConfig, CONFIGS / f"{recipe}.yaml", (*told, *more))


@pytest.mark.parametrize("recipe", ["imagenet_codec", "published_imagenet"])
def test_two_steps_and_a_resume_leave_a_codec(recipe, vavae, pictures, tmp_path):
    config = small(recipe, vavae, pictures, tmp_path / "run")
    assert train_vae(config, stop_at=1) is None
    codec = load_codec(train_vae(config))
    layout = codec.layout
    assert (layout.base_channels, layout.detail_channels, layout.factor) == (4, 12, 32)
    assert codec.config.stem_order == "base_first" and codec.detail.trunk is not None
    latents = codec.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert latents.shape == (1, 16, 2, 2) and codec.decode(latents).shape == (1, 3, 64, 64)


def test_the_papers_codec_is_the_published_one_without_its_dropout():
    paper, published = (
        read_config(VaeTrainingConfig, CONFIGS / f"{name}.yaml")
        for name in ("imagenet_codec", "published_imagenet")
    )
    assert (paper.model.detail_dropout, published.model.detail_dropout) == (0.0, 0.1)
    assert paper.loss == published.loss and paper.optimizer == published.optimizer


def test_a_pickle_of_another_vae_is_refused(vavae, pictures, tmp_path):
    sizes = ("model.sizes.base_channels=8", "model.sizes.detail_channels=24")
    config = small("imagenet_codec", vavae, pictures, tmp_path / "run", *sizes)
    with pytest.raises(TrainingError, match="with 4 latent channels, but 8 are needed"):
        train_vae(config)
