"""VA-VAE's published pickle: read without running it, what its training left out, and refused when it is none."""

import pytest
import torch

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.files import CheckpointError
from davae_core.presets import IMAGENET
from davae_core.published.vavae import load_vavae

BACKBONE = KLConfig((32, 32), res_blocks=1, norm_groups=32, attention_levels=(1,), quant_conv=True)


@pytest.fixture
def published(tmp_path):
    """A small VAE of VA-VAE's kind in a file of its layout, and the VAE."""
    torch.manual_seed(0)
    vae = KLAutoencoder(BACKBONE, 4)
    left = {"foundation_model.x": torch.zeros(3), "loss.logvar": torch.zeros(())}
    path = tmp_path / "vavae.pt"
    torch.save({"state_dict": {**vae.state_dict(), **left}, "epoch": 3}, path)
    return path, vae


def test_its_latents_are_used_as_they_are(published):
    path, vae = published
    found = load_vavae(path)
    assert (found.layout.base_channels, found.layout.base_factor) == (4, 2)
    assert (found.layout.base_shift, found.layout.base_scale) == (0.0, 1.0)
    image = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        for one, other in zip((found.vae, vae), (vae, found.vae), strict=True):
            mean = one.encode_moments(image).mean
            assert torch.allclose(mean, other.encode_moments(image).mean, atol=1e-6)
            assert torch.allclose(one.decode(mean), other.decode(mean), atol=1e-6)


def test_the_published_sizes_are_those_of_the_preset():
    with torch.device("meta"):
        vae = KLAutoencoder(IMAGENET.backbone, IMAGENET.layout.base_channels)
    encoder = sum(value.numel() for value in vae.encoder.parameters())
    assert round(encoder / 1e6, 1) == 28.4
    assert sum(value.numel() for value in vae.quant_conv.parameters()) == 4160
    assert IMAGENET.layout.detail_channels == 3 * IMAGENET.layout.base_channels


def test_what_is_no_vae_is_refused_with_a_sentence(published, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {"x": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match="holds no whole VAE") as caught:
        load_vavae(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    whole = torch.load(published[0], weights_only=True)
    del whole["state_dict"]["decoder.conv_out.bias"]
    torch.save(whole, path)
    with pytest.raises(CheckpointError, match=r"holds no whole VAE \(.*decoder.conv_out.bias"):
        load_vavae(path)
    torch.save({"state_dict": {}, "callbacks": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(CheckpointError, match="never run"):
        load_vavae(path)
