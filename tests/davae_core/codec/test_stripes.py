from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.live_bytes import LiveBytes
from davae_core.codec import stripes
from davae_core.codec.blocks import Decoder, Encoder, KLConfig, ResnetBlock
from davae_core.codec.stripes import GroupStatistics, Held, stripes_of

CONFIG = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4)


@pytest.fixture
def everything_is_large(monkeypatch):
    """Stripes of 16 rows whatever the size; pictures of no more rows stay whole."""
    monkeypatch.setattr(stripes, "STRIPE_BYTES", 1)


def uneven(module):
    """Norms whose weights and biases matter."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.normal_(part.weight, 1.0, 0.3)
            nn.init.normal_(part.bias, 0.0, 0.3)
    return module.requires_grad_(False)


def with_and_without_stripes(module, x):
    """What a module makes while gradients are on, which is the plain form, and without them."""
    with torch.enable_grad():
        plain = module(x)
    with torch.no_grad():
        return plain, module(x)


@pytest.mark.parametrize("outputs", [8, 16])
@pytest.mark.parametrize("height", [17, 32, 50])
def test_a_block_in_stripes_is_the_whole_block(everything_is_large, outputs, height):
    torch.manual_seed(0)
    block = uneven(ResnetBlock(8, outputs, 4, nn))
    x = torch.randn(2, 8, height, 6) * 2 + 3
    kept = x.clone()
    plain, striped = with_and_without_stripes(block, x)
    torch.testing.assert_close(striped, plain, atol=2e-5, rtol=0)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("size", [(9, 4), (20, 7), (26, 5)])
@pytest.mark.parametrize("widths", [(8, 16, 16), (8, 8), (8, 24), (8,)])
def test_a_decoder_in_stripes_is_the_whole_decoder(everything_is_large, widths, size):
    torch.manual_seed(0)
    decoder = uneven(Decoder(replace(CONFIG, widths=widths), inputs=4))
    latents = torch.randn(2, 4, *size)
    kept = latents.clone()
    plain, striped = with_and_without_stripes(decoder, latents)
    torch.testing.assert_close(striped, plain, atol=2e-5, rtol=0)
    assert torch.equal(latents, kept)


def test_a_joint_decoder_leaves_the_features_that_it_is_given(everything_is_large):
    torch.manual_seed(0)
    decoder = uneven(Decoder(CONFIG, inputs=None))
    features = torch.randn(1, 16, 18, 4)
    kept = features.clone()
    plain, striped = with_and_without_stripes(decoder, features)
    torch.testing.assert_close(striped, plain, atol=2e-5, rtol=0)
    assert torch.equal(features, kept)


def test_an_encoder_in_stripes_is_the_whole_encoder(everything_is_large):
    torch.manual_seed(0)
    encoder = uneven(Encoder(CONFIG, outputs=8))
    plain, striped = with_and_without_stripes(encoder, torch.randn(2, 3, 72, 20))
    torch.testing.assert_close(striped, plain, atol=2e-5, rtol=0)


def test_small_pictures_come_out_the_same_to_the_last_bit():
    torch.manual_seed(0)
    encoder = uneven(Encoder(CONFIG, outputs=8))
    plain, lean = with_and_without_stripes(encoder, torch.randn(1, 3, 24, 24))
    assert torch.equal(lean, plain)


def test_half_precision_in_stripes_is_as_near_as_whole(everything_is_large):
    torch.manual_seed(0)
    block = uneven(ResnetBlock(16, 16, 4, nn))
    x = torch.randn(1, 16, 40, 8).bfloat16()
    with torch.enable_grad():
        exact = block(x.float())
    plain, striped = with_and_without_stripes(block.bfloat16(), x)
    assert (striped - exact).abs().mean() < 1.2 * (plain - exact).abs().mean()


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_statistics_are_those_of_the_whole_picture(everything_is_large, offset):
    torch.manual_seed(0)
    norm = uneven(nn.GroupNorm(4, 8))
    x = torch.randn(2, 8, 70, 9) + offset + torch.arange(8.0).view(1, 8, 1, 1)
    found = GroupStatistics.of(Held(x), norm, x.element_size())
    wanted = F.silu(norm(x.double().float()))
    torch.testing.assert_close(found.activated(x), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("height", [1, 16, 33, 100])
def test_stripes_cover_every_row_once_and_see_their_neighbours(monkeypatch, height):
    monkeypatch.setattr(stripes, "STRIPE_BYTES", 8 * 10 * 20 * 4)
    found = list(stripes_of((1, 8, height, 10), 4))
    rows = [row for stripe in found for row in range(stripe.first, stripe.end)]
    assert rows == list(range(height))
    for stripe in found:
        assert stripe.top == max(stripe.first - 1, 0) and stripe.bottom == min(
            stripe.end + 1, height
        )


def test_a_full_size_decode_holds_two_pictures_of_its_width(monkeypatch):
    """Counted on tensors without data: what is alive at once, in the channels of the full size."""
    config = KLConfig(widths=(32, 64), res_blocks=2, norm_groups=8)
    monkeypatch.setattr(stripes, "STRIPE_BYTES", 1 << 18)
    with torch.device("meta"), torch.no_grad():
        decoder = Decoder(config, inputs=None)
        decoder.mid = nn.Identity()  # its attention needs a device
        features = torch.empty(1, 64, 256, 256)
        with LiveBytes() as live:
            decoder(features)
    picture = 32 * 512 * 512 * 4
    # Two, the features and the picture made of them (a half each), and some stripes; layer by layer it would be five.
    assert 2.0 * picture < live.peak < 3.3 * picture
