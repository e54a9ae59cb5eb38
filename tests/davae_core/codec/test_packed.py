from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from davae_core.codec.alignment import project
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig, shuffle, unshuffle
from davae_core.codec.files import BaseVae, load_codec, read_codec_file, save_codec
from davae_core.codec.latent_files import encoding_hash, load_latents, save_latents
from davae_core.codec.packed import PackedVAE
from davae_core.codec.packing_fit import pack
from davae_core.codec.small import SmallConfig
from davae_core.codec.tiling import map_tiled
from davae_core.files import CheckpointError
from davae_core.inspection import inspect_file
from davae_core.latents import LatentLayout, downscale_image
from tests.davae_core.codec.test_files import rewrite


def base_vae(seed=0, quant_conv=False):
    torch.manual_seed(seed)
    backbone = KLConfig(widths=(8, 16), res_blocks=1, norm_groups=4, quant_conv=quant_conv)
    vae = KLAutoencoder(backbone, 4).eval().requires_grad_(False)
    return BaseVae(vae, LatentLayout(4, 0, 2, 1, base_shift=0.1, base_scale=1.5))


def pictures(count=6, side=64, seed=0):
    """Smooth random pictures with a little noise on them, one at a time."""
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        small = torch.rand(1, 3, 8, 8, generator=random) * 2 - 1
        smooth = F.interpolate(small, size=(side, side), mode="bicubic")
        yield (smooth + 0.1 * torch.randn(1, 3, side, side, generator=random)).clamp(-1, 1)


def unseen():
    return next(pictures(count=1, seed=9))[..., :48, :]


def own_reconstruction(vae, images):
    return vae.decode(vae.encode_moments(images).mean).clamp(-1, 1)


@pytest.mark.parametrize("quant_conv", [False, True])
@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize("alignment", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ratio", [2, 4])
def test_with_all_channels_the_picture_is_the_vaes_own_at_full_size(
    ratio, alignment, phases, quant_conv
):
    base = base_vae(quant_conv=quant_conv)
    codec = pack(base, pictures(), ratio, alignment=alignment, phases=phases)
    assert codec.layout == LatentLayout(4, 4 * ratio**2, 2, ratio, base_shift=0.1, base_scale=1.5)
    images = unseen()
    latents = codec.encode(images)
    assert latents.shape == (1, 4 + 4 * ratio**2, 48 // (2 * ratio), 64 // (2 * ratio))
    wanted = own_reconstruction(base.vae, images)
    torch.testing.assert_close(codec.decode(latents), wanted, atol=1e-5, rtol=0)


def test_a_small_vae_is_packed_like_any_other():
    torch.manual_seed(0)
    small = SmallConfig(width=8, levels=2, blocks=1, shift=0.1, scale=1.5)
    vae = KLAutoencoder(small, 4).eval().requires_grad_(False)
    base = BaseVae(vae, LatentLayout(4, 0, 2, 1, base_shift=0.1, base_scale=1.5))
    codec, images = pack(base, pictures()), unseen()
    wanted = own_reconstruction(vae, images)
    torch.testing.assert_close(codec.decode(codec.encode(images)), wanted, atol=1e-5, rtol=0)


def test_a_packed_small_vae_comes_back_from_its_file(tmp_path):
    torch.manual_seed(0)
    small = SmallConfig(width=8, levels=2, blocks=1, shift=0.1, scale=1.5)
    base = BaseVae(KLAutoencoder(small, 4).eval(), LatentLayout(4, 0, 2, 1, 0.1, 1.5))
    codec, images = pack(base, pictures(), detail_channels=7), unseen()
    save_codec(tmp_path / "small.safetensors", codec)
    with torch.no_grad():
        again = load_codec(tmp_path / "small.safetensors").encode(images)
        assert torch.equal(again, codec.encode(images))
    assert "base decoder is inside" in " ".join(inspect_file(tmp_path / "small.safetensors").lines)


def test_the_base_channels_are_the_vaes_own_of_the_reduced_picture_and_make_the_draft():
    base, images = base_vae(), unseen()
    codec = pack(base, pictures(), detail_channels=5)
    latents = codec.encode(images)
    small = base.vae.encode_moments(downscale_image(images, 2)).mean
    torch.testing.assert_close(latents[:, :4], small)
    torch.testing.assert_close(codec.decode_base(latents), base.vae.decode(small).clamp(-1, 1))


@pytest.mark.parametrize("alignment", [0.0, 0.4, 1.0])
def test_every_detail_channel_has_mean_0_and_deviation_1_where_it_was_fitted(alignment):
    codec = pack(base_vae(), pictures(), alignment=alignment)
    detail = torch.cat([codec.encode(picture)[:, 4:] for picture in pictures()])
    torch.testing.assert_close(detail.mean(dim=(0, 2, 3)), torch.zeros(16), atol=1e-3, rtol=0)
    deviation = detail.square().mean(dim=(0, 2, 3)).sqrt()
    torch.testing.assert_close(deviation, torch.ones(16), atol=1e-3, rtol=0)


@torch.no_grad()
def full_latent_error(codec, vae, images):
    """Mean squared error of the full-size latent that the decoder gets."""
    full, latents = vae.encode_moments(images).mean, codec.encode(images)
    return float(
        (codec.detail.unpack(latents[:, 4:], latents[:, :4]) - unshuffle(full, 2)).square().mean()
    )


def test_more_channels_lose_less_on_new_pictures_too():
    base, images = base_vae(), unseen()
    errors = [
        full_latent_error(pack(base, pictures(), detail_channels=count), base.vae, images)
        for count in (1, 4, 8, 12, 16)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-10 < errors[-2]


def test_no_other_axes_of_that_number_do_better_where_they_were_fitted():
    base, images = base_vae(), torch.cat(list(pictures()))
    codec = pack(base, pictures(), detail_channels=6)
    ours = full_latent_error(codec, base.vae, images)
    for seed in range(5):
        torch.manual_seed(seed)
        nearby = codec.detail.axes + 0.2 * torch.randn(6, 16)
        other = pack(base, pictures(), detail_channels=6)
        other.detail.axes.copy_(torch.linalg.qr(nearby.T)[0].T)
        assert ours < full_latent_error(other, base.vae, images)


def test_fully_aligned_phases_are_the_latents_own_and_their_mean_follows_the_base():
    base, images = base_vae(), unseen()
    codec = pack(base, pictures(), alignment=0.0, phases=True)
    latents = codec.encode(images)
    phases = unshuffle(base.vae.encode_moments(images).mean, 2)
    scale = codec.detail.std.view(1, -1, 1, 1)
    raw = latents[:, 4:] * scale + codec.detail.mean.view(1, -1, 1, 1)
    torch.testing.assert_close(raw, phases)
    torch.testing.assert_close(
        project(raw, 4), F.avg_pool2d(shuffle(phases, 2), 2), atol=1e-5, rtol=0
    )


def test_what_the_base_tells_is_not_in_the_detail_when_all_of_it_is_taken_off():
    def correlation(alignment):
        codec = pack(base_vae(), pictures(), alignment=alignment, phases=True)
        rows = torch.cat([codec.encode(p).permute(0, 2, 3, 1).reshape(-1, 20) for p in pictures()])
        return torch.corrcoef(rows.T)[:4, 4:].abs().max()

    # The ridge keeps it from being nothing at all.
    assert correlation(1.0) < 0.05 < 0.2 < correlation(0.0)


def test_tiles_are_those_of_the_vae_alone_and_the_packing_loses_nothing_at_their_edges():
    base, images = base_vae(), torch.cat([unseen(), unseen()], dim=-1)
    codec = pack(base, pictures())
    latents = codec.encode_tiled(images, tile=32, overlap=8)
    phases = map_tiled(
        lambda part: unshuffle(base.vae.encode_moments(part).mean, 2), images, 32, 8, (1, 4)
    )
    unpacked = codec.detail.unpack(latents[:, 4:], latents[:, :4])
    torch.testing.assert_close(unpacked, phases, atol=1e-5, rtol=0)
    told = []
    rebuilt = codec.decode_tiled(latents, 8, 2, lambda done, total: told.append((done, total)))
    wanted = map_tiled(
        lambda part: base.vae.decode(shuffle(part, 2)).clamp(-1, 1), phases, 8, 2, (4, 1)
    )
    torch.testing.assert_close(rebuilt, wanted, atol=1e-5, rtol=0)
    assert told[-1][0] == told[-1][1] == len(told) > 1


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"detail_channels": 17}, "are 16 numbers, so 17 detail channels are too many"),
        ({"detail_channels": 0}, "detail_channels must be at least 1"),
        ({"detail_channels": 8, "phases": True}, "none can be left out, so 8 are too few"),
        ({"alignment": 1.5}, "alignment must be between 0 and 1, not 1.5"),
    ],
)
def test_a_packing_that_cannot_be_is_refused_before_a_picture_is_read(choices, words):
    with pytest.raises(ValueError, match=words):
        pack(base_vae(), (pytest.fail("a picture was read") for _ in range(1)), **choices)


def test_too_few_pictures_and_pictures_of_nothing_are_refused():
    with pytest.raises(
        ValueError, match=r"have 16 latent cells together, fewer than the 53 numbers"
    ):
        pack(base_vae(), pictures(count=1, side=16))
    base = base_vae()
    for part in base.vae.encoder.conv_out.parameters():
        part.zero_()
    with pytest.raises(ValueError, match="nothing to pack"):
        pack(base, pictures())
    # A damaged file's numbers: some libraries of linear algebra give up on them, others go on.
    next(base.vae.encoder.conv_out.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"no principal axes|nothing to pack"):
        pack(base, pictures())


@pytest.fixture
def packed_file(tmp_path):
    path = tmp_path / "packed.safetensors"
    save_codec(path, pack(base_vae(), pictures(), detail_channels=10, alignment=0.5))
    return path


def test_a_packed_codec_comes_back_from_its_file(packed_file):
    codec, images = pack(base_vae(), pictures(), detail_channels=10, alignment=0.5), unseen()
    again = load_codec(packed_file)
    assert isinstance(again, PackedVAE) and again.config == codec.config
    latents = again.encode(images)
    assert torch.equal(latents, codec.encode(images))
    assert torch.equal(again.decode(latents), codec.decode(latents))
    stock = base_vae().vae.state_dict()
    assert all(torch.equal(tensor, load_file(packed_file)[name]) for name, tensor in stock.items())


def test_half_precision_rounds_the_vae_and_not_the_packing(packed_file, tmp_path):
    half = tmp_path / "half.safetensors"
    save_codec(half, load_codec(packed_file), dtype=torch.float16)
    whole, found = load_file(packed_file), load_file(half)
    for name, tensor in whole.items():
        kept = name.startswith("detail.")
        assert torch.equal(found[name], tensor if kept else tensor.half())
    assert encoding_hash(half) == encoding_hash(packed_file)


def test_a_packed_codec_cannot_be_compact(tmp_path):
    codec = pack(base_vae(), pictures())
    with pytest.raises(ValueError, match="decodes with the base decoder"):
        save_codec(tmp_path / "compact.safetensors", codec, compact=True)


def test_inspect_says_what_is_packed_and_how(packed_file, tmp_path):
    text = " ".join(inspect_file(packed_file).lines)
    assert "4 base + 10 detail channels" in text and "base decoder is inside" in text
    assert "Packed: 10 detail channels" in text
    assert "(exact would be 16), alignment 0.5; nothing in it was trained" in text
    save_codec(tmp_path / "all.safetensors", pack(base_vae(), pictures()))
    assert "(nothing is lost)" in " ".join(inspect_file(tmp_path / "all.safetensors").lines)


@pytest.mark.parametrize(
    "other",
    [
        lambda: pack(base_vae(seed=1), pictures(), detail_channels=10, alignment=0.5),
        lambda: pack(base_vae(), pictures(), detail_channels=10, alignment=0.4),
    ],
    ids=["another VAE", "another alignment"],
)
def test_a_latent_of_another_packing_is_refused_naming_both(packed_file, tmp_path, other):
    other_file, latent = tmp_path / "other.safetensors", tmp_path / "latent.safetensors"
    save_codec(other_file, other())
    save_latents(latent, other().encode(unseen()), other().layout, other_file)
    with pytest.raises(CheckpointError) as caught:
        load_latents(latent, load_codec(packed_file), packed_file)
    assert str(latent) in str(caught.value) and str(packed_file) in str(caught.value)
    assert load_latents(latent, load_codec(other_file), other_file).shape[1] == 14


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("alignment"), "damaged DA-VAE metadata .*alignment"),
        (lambda d: d.update(alignment=2), "alignment is 2.0, but it must lie between"),
        (lambda d: d.update(alignment="x"), "damaged DA-VAE metadata"),
        (lambda d: d["layout"].update(detail_channels=99), "99 detail channels are too many"),
        (lambda d: d["layout"].update(detail_channels=9), "where its metadata means"),
        (lambda d: d.update(codec="x"), "damaged DA-VAE metadata"),
        (lambda d: d.pop("codec"), "damaged DA-VAE metadata"),
    ],
)
def test_metadata_that_does_not_fit_a_packing_is_refused(packed_file, change, words):
    rewrite(packed_file, change_metadata=change)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_codec_file(packed_file)
    assert str(packed_file) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [lambda t: t["detail.axes"].fill_(float("nan")), lambda t: t["detail.std"].zero_()],
)
def test_packings_that_cannot_be_computed_with_are_refused(packed_file, change):
    rewrite(packed_file, change_tensors=change)
    with pytest.raises(CheckpointError, match="cannot be used"):
        read_codec_file(packed_file)


def test_a_learned_codec_and_a_packed_one_of_one_vae_have_different_latents(tmp_path, packed_file):
    base = base_vae()
    layout = replace(base.layout, detail_channels=4, ratio=2)
    learned = DetailAlignedVAE.from_base(base.vae, CodecConfig(layout, base.vae.backbone))
    save_codec(tmp_path / "learned.safetensors", learned)
    assert encoding_hash(tmp_path / "learned.safetensors") != encoding_hash(packed_file)
    parents = [
        inspect_file(path).data["metadata"]["parents"]
        for path in (tmp_path / "learned.safetensors", packed_file)
    ]
    assert parents[0] == parents[1]
