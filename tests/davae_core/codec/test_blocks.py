from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.codec.blocks import AttnBlock, DCDown, DCUp, Decoder, Encoder, KLConfig
from davae_core.codec.files import load_base_vae
from davae_core.presets import PRESETS


class MarkedConv2d(nn.Conv2d):
    pass


class MarkedGroupNorm(nn.GroupNorm):
    pass


MARKED = SimpleNamespace(Conv2d=MarkedConv2d, GroupNorm=MarkedGroupNorm)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_layer_comes_from_the_injected_ops(preset):
    with torch.device("meta"):
        codec = DetailAlignedVAE(PRESETS[preset], ops=MARKED)
    layers = [m for m in codec.modules() if isinstance(m, nn.Conv2d | nn.GroupNorm | nn.Linear)]
    assert len(layers) > 100
    assert all(type(layer) in (MarkedConv2d, MarkedGroupNorm) for layer in layers)


def test_dc_down_shortcut_averages_consecutive_channels_of_each_cell():
    down = DCDown(inputs=8, outputs=8, ratio=2)
    nn.init.zeros_(down.conv.weight)
    nn.init.zeros_(down.conv.bias)
    features = torch.randn(1, 8, 4, 6)
    out = down(features)
    for channel in range(8):
        # 4 unshuffled channels per output: channel // 4 of pixel-unshuffle's order c * 4 + dy * 2 + dx.
        expected = torch.stack(
            [
                features[:, c, dy::2, dx::2]
                for c, dy, dx in _unshuffle_order(8, 2)[4 * channel : 4 * channel + 4]
            ]
        ).mean(dim=0)
        torch.testing.assert_close(out[:, channel], expected)


def _unshuffle_order(channels, ratio):
    return [(c, dy, dx) for c in range(channels) for dy in range(ratio) for dx in range(ratio)]


def test_dc_down_starts_without_a_shortcut_where_groups_do_not_come_out_even():
    down = DCDown(inputs=5, outputs=12, ratio=2)
    assert down.shortcut_proj is not None and down.shortcut_proj.bias is None
    assert torch.count_nonzero(down.shortcut_proj.weight) == 0
    features = torch.randn(1, 5, 4, 4)
    torch.testing.assert_close(down(features), torch.pixel_unshuffle(down.conv(features), 2))


def test_dc_up_shortcut_spreads_each_latent_channel_over_its_own_features():
    up = DCUp(inputs=32, outputs=64, ratio=2)
    nn.init.zeros_(up.conv.weight)
    nn.init.zeros_(up.conv.bias)
    latents = torch.randn(1, 32, 3, 2)
    out = up(latents)
    assert out.shape == (1, 64, 6, 4)
    for feature in range(64):
        expected = latents[:, feature // 2].repeat_interleave(2, 1).repeat_interleave(2, 2)
        torch.testing.assert_close(out[:, feature], expected)


def test_impossible_channel_counts_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="multiple of 16"):
        DCDown(inputs=8, outputs=8, ratio=4)
    with pytest.raises(ValueError, match="evenly"):
        DCUp(inputs=24, outputs=8, ratio=2)
    with pytest.raises(ValueError, match="normalisation groups"):
        KLConfig(widths=(30,), res_blocks=1, norm_groups=32)


def test_ratio_four_takes_sixteen_pixels_a_side_into_one_cell():
    down, up = DCDown(16, 32, ratio=4), DCUp(32, 16, ratio=4)
    moments = down(torch.randn(1, 16, 8, 12))
    assert moments.shape == (1, 32, 2, 3)
    assert up(moments).shape == (1, 16, 8, 12)


def test_encoder_and_decoder_agree_with_diffusers_on_the_same_weights(golden):
    from diffusers import AutoencoderKL

    theirs = AutoencoderKL.from_pretrained(golden / "base_vae").eval()
    ours = load_base_vae(golden / "base_vae").vae
    torch.manual_seed(1)
    images, latents = torch.rand(1, 3, 40, 56) * 2 - 1, torch.randn(1, 16, 5, 7)
    with torch.no_grad():
        posterior = theirs.encode(images).latent_dist
        moments = ours.encode_moments(images)
        torch.testing.assert_close(moments.mean, posterior.mean, atol=1e-4, rtol=0)
        torch.testing.assert_close(moments.logvar, posterior.logvar, atol=1e-4, rtol=0)
        torch.testing.assert_close(
            ours.decode(latents), theirs.decode(latents).sample, atol=1e-4, rtol=0
        )


def test_trunk_is_the_encoder_up_to_its_last_convolution():
    torch.manual_seed(0)
    config = KLConfig(widths=(8, 16), res_blocks=1, norm_groups=4)
    encoder, trunk = Encoder(config, 6), Encoder(config, None)
    trunk.load_state_dict(
        {k: v for k, v in encoder.state_dict().items() if not k.startswith("conv_out.")}
    )
    images = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(trunk(images), encoder.features(images))
    torch.testing.assert_close(encoder(images), encoder.conv_out(trunk(images)))


def test_attention_levels_follow_their_blocks():
    config = KLConfig(widths=(8, 16), res_blocks=2, norm_groups=4, attention_levels=(1,))
    encoder, decoder = Encoder(config, 4), Decoder(config, 2)
    assert len(encoder.down[1].attn) == 2 and len(encoder.down[0].attn) == 0
    assert len(decoder.up[1].attn) == 3 and len(decoder.up[0].attn) == 0
    assert decoder(encoder(torch.randn(1, 3, 8, 8))[:, :2]).shape == (1, 3, 8, 8)


def test_attention_never_holds_all_pairs_of_positions():
    block = AttnBlock(width=32, groups=8, ops=nn)
    # Only the kernel that works in blocks is allowed; PyTorch raises when it cannot take these inputs.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert block(torch.randn(1, 32, 8, 6)).shape == (1, 32, 8, 6)


def test_layout_and_backbone_must_agree_on_the_factor():
    with pytest.raises(ValueError, match="resolution levels"):
        CodecConfig(PRESETS["sd3"].layout, KLConfig(widths=(32, 64), res_blocks=1, norm_groups=8))
