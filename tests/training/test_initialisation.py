import pytest
import torch

from davae_core.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.blocks import KLConfig
from davae_core.latents import LatentLayout, base_to_model_space
from training.initialisation import initialise_base_vae, initialise_detail

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
    layout = LatentLayout(base_channels=8, detail_channels=8, base_factor=4)
    codec = DetailAlignedVAE(CodecConfig(layout=layout, backbone=BACKBONE))
    initialise_detail(codec)
    moments = codec.encode_moments(torch.rand(1, 3, 32, 32) * 2 - 1).detail
    assert float(moments.logvar.mean()) < -4.0
    assert float(moments.mean.abs().mean()) < 2.0


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("quant_conv", [False, True])
@torch.no_grad()
def test_the_stem_starts_as_the_base_decoder_on_the_enlarged_base(
    ratio: int, quant_conv: bool
) -> None:
    torch.manual_seed(0)
    backbone = KLConfig(widths=(16, 32, 32), res_blocks=1, norm_groups=4, quant_conv=quant_conv)
    layout = LatentLayout(8, 8, 4, ratio, base_shift=0.3, base_scale=1.7)
    base = KLAutoencoder(backbone, 8)
    codec = DetailAlignedVAE.from_base(base, CodecConfig(layout, backbone))
    initialise_detail(codec)
    latents = torch.randn(1, 8, 5, 6)
    started = codec.joint.up(
        torch.cat([torch.zeros_like(latents), base_to_model_space(latents, layout)], dim=1)
    )
    enlarged = latents.repeat_interleave(ratio, 2).repeat_interleave(ratio, 3)
    if base.post_quant_conv is not None:
        enlarged = base.post_quant_conv(enlarged)
    wanted = base.decoder.conv_in(enlarged)
    # At the border both pad with zeros, but zero means another value in model space.
    inside = (..., slice(ratio, -ratio), slice(ratio, -ratio))
    torch.testing.assert_close(started[inside], wanted[inside], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_detail_reaches_the_decoder_from_the_first_step() -> None:
    torch.manual_seed(0)
    layout = LatentLayout(base_channels=8, detail_channels=8, base_factor=4)
    codec = DetailAlignedVAE(CodecConfig(layout=layout, backbone=BACKBONE))
    initialise_detail(codec)
    base, detail = torch.zeros(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    assert not torch.allclose(codec.decode_joint(base, detail), codec.decode_joint(base, -detail))
