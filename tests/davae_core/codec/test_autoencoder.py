import pytest
import torch

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder, Moments
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_codec, save_codec
from davae_core.latents import LatentLayout
from davae_core.presets import IMAGENET, PRESETS, SD3

SMALL = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4)


@pytest.mark.parametrize(
    ("layout", "backbone", "order", "shared"),
    [
        (LatentLayout(4, 4, 4, 2, 0.25, 2.0), SMALL, "detail_first", True),
        (LatentLayout(4, 12, 4, 2, 0.25, 2.0), SMALL, "base_first", False),
        (LatentLayout(8, 24, 4, 4, 0.25, 2.0), SMALL, "detail_first", False),
        (
            LatentLayout(4, 4, 4, 2, 0.25, 2.0),
            KLConfig((8, 16, 16), 1, 4, (2,), quant_conv=True),
            "base_first",
            False,
        ),
    ],
    ids=["sd3-like", "imagenet-like", "ratio-4", "attention-and-quant-conv"],
)
def test_codecs_of_every_layout_encode_and_decode(layout, backbone, order, shared):
    codec = DetailAlignedVAE(CodecConfig(layout, backbone, order, shared)).eval()
    images = torch.rand(2, 3, 2 * layout.factor, 3 * layout.factor) * 2 - 1
    with torch.no_grad():
        latents = codec.encode(images)
        assert latents.shape == (2, layout.channels, 2, 3)
        decoded = codec.decode(latents)
        assert decoded.shape == images.shape
        assert decoded.abs().max() <= 1
        assert codec.decode_base(latents).shape[-1] == images.shape[-1] // layout.ratio


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_have_the_shapes_of_the_paper(preset):
    config = PRESETS[preset]
    with torch.device("meta"):
        codec = DetailAlignedVAE(config)
        moments = codec.encode_moments(torch.empty(1, 3, 512, 512))
    side = 512 // config.layout.factor
    assert moments.base.mean.shape == (1, config.layout.base_channels, side, side)
    assert moments.detail.mean.shape == (1, config.layout.detail_channels, side, side)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("way", ["encode", "encode_tiled"])
def test_pictures_that_are_no_numbers_are_refused(way, value, tiny_codec):
    images = torch.zeros(1, 3, 16, 16)
    images[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        getattr(tiny_codec, way)(images)


def test_the_sd3_codec_has_the_published_size_and_keys():
    with torch.device("meta"):
        compact, whole = DetailAlignedVAE(SD3, base_decoder=False), DetailAlignedVAE(SD3)
        stock = KLAutoencoder(SD3.backbone, 16)
    statistics = 32
    for codec, numbers in ((compact, 84_374_187), (whole, 133_919_662)):
        assert sum(t.numel() for t in codec.state_dict().values()) - statistics == numbers
    assert set(stock.state_dict()) <= set(whole.state_dict())
    extra = set(whole.state_dict()) - set(stock.state_dict())
    joint = {
        f"joint.{name}"
        for name in stock.state_dict()
        if name.startswith("decoder.") and "conv_in" not in name
    }
    resolution = {
        f"{block}.conv.{part}"
        for block in ("detail.down", "joint.up")
        for part in ("weight", "bias")
    }
    assert extra == joint | resolution | {"detail.mean", "detail.std"}
    assert len(stock.state_dict()) == 244
    assert whole.state_dict()["detail.down.conv.weight"].shape == (8, 512, 3, 3)
    assert whole.state_dict()["joint.up.conv.weight"].shape == (2048, 32, 3, 3)


def test_the_imagenet_codec_has_a_learned_shortcut_and_its_own_trunk():
    with torch.device("meta"):
        state = DetailAlignedVAE(IMAGENET).state_dict()
    assert state["detail.down.conv.weight"].shape == (48, 512, 3, 3)
    assert state["detail.down.shortcut_proj.weight"].shape == (192, 2048, 1, 1)
    assert state["joint.up.conv.weight"].shape == (2048, 128, 3, 3)
    assert "detail.trunk.conv_in.weight" in state


def test_stem_order_decides_which_part_the_decoder_reads_first(tiny_config, tiny_codec):
    other = DetailAlignedVAE(
        CodecConfig(tiny_config.layout, tiny_config.backbone, "base_first")
    ).eval()
    weights = dict(tiny_codec.state_dict())
    stem = weights["joint.up.conv.weight"]
    weights["joint.up.conv.weight"] = torch.cat([stem[:, 12:], stem[:, :12]], dim=1)
    # The shortcut has no weights to swap, so silence it by comparing the convolution alone.
    other.load_state_dict(weights)
    base, detail = torch.randn(1, 4, 2, 2), torch.randn(1, 12, 2, 2)
    ours = tiny_codec.joint.up.conv(torch.cat([detail, base], dim=1))
    theirs = other.joint.up.conv(torch.cat([base, detail], dim=1))
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert not torch.allclose(
            tiny_codec.decode_joint(base, detail), other.decode_joint(base, detail)
        )


def test_base_channels_are_the_pretrained_vaes_own_mean(tiny_config, tiny_codec):
    from davae_core.latents import downscale_image

    base = KLAutoencoder(tiny_config.backbone, 4)
    base.load_state_dict(
        {k: v for k, v in tiny_codec.state_dict().items() if k in base.state_dict()}
    )
    images = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        latents = tiny_codec.encode(images)
        torch.testing.assert_close(
            latents[:, :4], base.encode_moments(downscale_image(images, 2)).mean
        )
        torch.testing.assert_close(
            tiny_codec.decode_base(latents), base.decode(latents[:, :4]).clamp(-1, 1)
        )


def test_detail_is_stored_normalised_and_decoded_raw(tiny_codec):
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    latents, moments = tiny_codec.encode(images), tiny_codec.encode_moments(images)
    mean, std = tiny_codec.detail.mean.view(1, -1, 1, 1), tiny_codec.detail.std.view(1, -1, 1, 1)
    torch.testing.assert_close(latents[:, 4:], (moments.detail.mean - mean) / std)
    torch.testing.assert_close(tiny_codec.denormalise_detail(latents[:, 4:]), moments.detail.mean)


@pytest.mark.parametrize(("height", "width"), [(17, 16), (16, 20), (0, 16)])
def test_sides_that_do_not_fit_are_named(tiny_codec, height, width):
    with pytest.raises(
        ValueError, match=f"{width}x{height} pixels, but both sides must be multiples of 8"
    ):
        tiny_codec.encode(torch.zeros(1, 3, height, width))


def test_one_tile_equals_the_whole_and_many_tiles_stay_near(tiny_codec):
    torch.manual_seed(3)
    images = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 4) * 2 - 1, size=(64, 96), mode="bicubic"
    ).clamp(-1, 1)
    latents = tiny_codec.encode(images)
    torch.testing.assert_close(tiny_codec.encode_tiled(images, tile=96, overlap=8), latents)
    torch.testing.assert_close(
        tiny_codec.decode_tiled(latents, tile=16, overlap=4), tiny_codec.decode(latents)
    )
    assert tiny_codec.encode_tiled(images, tile=32, overlap=16).shape == latents.shape
    assert tiny_codec.decode_tiled(latents, tile=6, overlap=2).shape == images.shape


def test_a_compact_codec_says_how_to_get_drafts(tiny_config, tiny_codec, tmp_path):
    save_codec(tmp_path / "compact.safetensors", tiny_codec, compact=True)
    compact = load_codec(tmp_path / "compact.safetensors")
    latents = torch.randn(1, 16, 2, 2)
    torch.testing.assert_close(compact.decode(latents), tiny_codec.decode(latents))
    with pytest.raises(ValueError, match="stock VAE"):
        compact.decode_base(latents)


def test_saving_and_reading_changes_nothing(tiny_codec, tmp_path):
    save_codec(tmp_path / "codec.safetensors", tiny_codec)
    again = load_codec(tmp_path / "codec.safetensors")
    assert again.config == tiny_codec.config
    assert all(
        torch.equal(tensor, again.state_dict()[name])
        for name, tensor in tiny_codec.state_dict().items()
    )
    assert (
        load_codec(tmp_path / "codec.safetensors", dtype=torch.bfloat16).detail.std.dtype
        == torch.bfloat16
    )


def test_a_new_codec_starts_from_everything_its_base_can_give(tiny_config):
    torch.manual_seed(5)
    base = KLAutoencoder(tiny_config.backbone, 4)
    own_trunk = CodecConfig(tiny_config.layout, tiny_config.backbone, shared_trunk=False)
    codec = DetailAlignedVAE.from_base(base, own_trunk)
    assert all(
        torch.equal(tensor, codec.state_dict()[name]) for name, tensor in base.state_dict().items()
    )
    assert torch.equal(codec.detail.trunk.mid.attn_1.q.weight, base.encoder.mid.attn_1.q.weight)
    assert torch.equal(codec.joint.decoder.conv_out.weight, base.decoder.conv_out.weight)
    with pytest.raises(ValueError, match="other sizes"):
        DetailAlignedVAE.from_base(KLAutoencoder(tiny_config.backbone, 8), own_trunk)


def test_statistics_must_be_usable(tiny_codec):
    with pytest.raises(ValueError, match="12 values"):
        tiny_codec.set_detail_statistics(torch.zeros(4), torch.ones(4))
    with pytest.raises(ValueError, match="above 0"):
        tiny_codec.set_detail_statistics(torch.zeros(12), torch.zeros(12))


def test_moments_sample_and_measure_a_gaussian():
    moments = Moments.from_channels(
        torch.cat([torch.full((1, 2, 64, 64), 3.0), torch.full((1, 2, 64, 64), -2.0)], 1)
    )
    noise = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    sample = moments.sample(noise)
    assert abs(sample.mean() - 3.0) < 0.02 and abs(sample.std() - torch.tensor(-1.0).exp()) < 0.02
    per_value = 0.5 * (9 + torch.tensor(-2.0).exp() - 1 + 2)
    torch.testing.assert_close(moments.kl(), per_value.expand(1) * 2 * 64 * 64)
    assert Moments.from_channels(torch.full((1, 2, 1, 1), 99.0)).logvar.max() == 20
