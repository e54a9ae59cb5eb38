"""A small VAE on SD3's latents is told from one on other latents, though shapes and names are the same."""

import pytest
import torch

from davae_core import mini
from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.files import load_base_vae
from davae_core.codec.sd3_space import LEAST_LIKENESS, sd3_likeness
from davae_core.presets import PRESETS, SMALL


def test_the_bundled_base_has_sd3_s_latents():
    assert sd3_likeness(load_base_vae(mini.davae_path()).vae.float()) > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_random_weights_and_exchanged_channels_have_not(seed):
    torch.manual_seed(seed)
    assert abs(sd3_likeness(KLAutoencoder(SMALL.backbone, 16))) < LEAST_LIKENESS / 2
    vae = load_base_vae(mini.davae_path()).vae.float()
    order = torch.randperm(16)
    last = vae.encoder.conv_out
    last.weight.data, last.bias.data = last.weight.data[order], last.bias.data[order]
    assert sd3_likeness(vae) < LEAST_LIKENESS


def test_other_kinds_of_vae_are_refused():
    with pytest.raises(ValueError, match="Only a small VAE of 16 latent channels"):
        sd3_likeness(KLAutoencoder(PRESETS["mini"].backbone, 16))
