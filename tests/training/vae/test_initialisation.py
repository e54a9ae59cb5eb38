import pytest
import torch

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.latents import LatentLayout
from training.vae.initialisation import initialise_base_vae, initialise_detail

BACKBONE = KLConfig(widths=(16, 32, 32), res_blocks=1, norm_groups=4)


@pytest.fixture
def vae() -> KLAutoencoder:
    torch.manual_seed(0)
    vae = KLAutoencoder(BACKBONE, 8)
    initialise_base_vae(vae)
    return vae


def test_residual_branches_start_as_nothing(vae: KLAutoencoder) -> None:
    features = torch.randn(1, 32, 8, 8)
    assert torch.equal(vae.decoder.mid(features), features)


def test_log_variance_starts_at_minus_six(vae: KLAutoencoder) -> None:
    moments = vae.encode_moments(torch.rand(1, 3, 32, 32) * 2 - 1)
    assert torch.equal(moments.logvar, torch.full_like(moments.logvar, -6.0))


def test_brightness_reaches_the_latent_in_proportion(vae: KLAutoencoder) -> None:
    """A plain start normalises a flat picture's brightness away; this one keeps it nearly linear."""

    def latent(brightness: float) -> torch.Tensor:
        image = torch.full((1, 3, 64, 64), brightness)
        return vae.encode_moments(image).mean.detach()[..., 4:-4, 4:-4].mean(dim=(0, 2, 3))

    dark, grey, bright = latent(-0.5), latent(0.0), latent(0.5)
    assert float((bright - dark).norm()) > 0.2
    bend = (bright + dark) / 2 - grey
    assert float(bend.norm()) < 0.25 * float((bright - dark).norm())


def test_features_keep_their_scale_on_the_way_down(vae: KLAutoencoder) -> None:
    torch.manual_seed(1)
    x = vae.encoder.conv_in(torch.randn(2, 3, 64, 64))
    spreads = []
    for level in vae.encoder.down:
        x = level(x)
        spreads.append(float(x.var(dim=(2, 3)).mean()))
    assert all(0.2 < spread < 5.0 for spread in spreads)


def test_a_fresh_detail_starts_with_little_noise() -> None:
    torch.manual_seed(0)
    layout = LatentLayout(8, 8, 4, 2, 0.0, 1.0)
    codec = DetailAlignedVAE(CodecConfig(layout=layout, backbone=BACKBONE))
    initialise_detail(codec)
    moments = codec.encode_moments(torch.rand(1, 3, 32, 32) * 2 - 1).detail
    assert float(moments.logvar.mean()) < -4.0
    assert float(moments.mean.abs().mean()) < 2.0
