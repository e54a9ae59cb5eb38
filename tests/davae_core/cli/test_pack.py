"""`davae pack`: what it writes, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core import mini
from davae_core.cli.commands import main
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_base_vae, load_codec, save_base_vae, save_codec
from davae_core.codec.packed import PackedVAE
from davae_core.images import read_image
from davae_core.latents import LatentLayout, crop_to_multiple
from davae_core.metrics import psnr

BACKBONE = KLConfig(widths=(8, 16), res_blocks=1, norm_groups=4)


@pytest.fixture
def vae(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "base.safetensors"
    save_base_vae(path, KLAutoencoder(BACKBONE, 4), shift=0.1, scale=1.5, dtype=torch.float16)
    return path


@pytest.fixture
def photos(tmp_path):
    """Three photographs of other sizes, one of them larger than what is read of it."""
    random, paths = np.random.default_rng(0), []
    for number, size in enumerate([(70, 50), (64, 64), (700, 30)]):
        pixels = random.integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
        paths.append(tmp_path / f"photo_{number}.png")
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def command(*parts):
    return main([str(part) for part in parts])


def test_a_packed_file_gives_pictures_back_as_the_vae_itself_does(vae, photos, tmp_path, capsys):
    packed, latent, back = (tmp_path / name for name in ("p.safetensors", "l.safetensors", "b.png"))
    assert command("pack", vae, *photos, "-o", packed) == 0
    out = capsys.readouterr().out
    assert "4 base + 16 detail channels, 4 pixels per cell" in out and "nothing is lost" in out
    assert command("encode", photos[1], "-o", latent, "--vae", packed) == 0
    assert command("decode", latent, "-o", back, "--vae", packed) == 0
    own = load_base_vae(vae).vae.float()
    with torch.inference_mode():
        wanted = own.decode(own.encode_moments(read_image(photos[1])).mean).clamp(-1, 1)
    assert (read_image(back) - wanted).abs().max() <= 1 / 255 + 1e-4
    assert command("decode", latent, "-o", back, "--vae", packed, "--draft") == 0
    assert Image.open(back).size == (32, 32)
    assert command("inspect", packed, "--json") == 0
    found = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert found["metadata"]["codec"] == "packed" and found["dtypes"] == ["F16", "F32"]
    assert found["metadata"]["layout"]["base_shift"] == 0.1


def test_ratio_channels_and_alignment_are_what_was_asked_for(vae, photos, tmp_path):
    packed, out = tmp_path / "packed.safetensors", tmp_path / "out"
    chosen = ["--ratio", 4, "--detail-channels", 10, "--alignment", 0.25]
    assert command("pack", vae, *photos, "-o", packed, *chosen) == 0
    codec = load_codec(packed)
    assert isinstance(codec, PackedVAE) and codec.config.alignment == 0.25
    assert codec.layout == LatentLayout(4, 10, 2, 4, base_shift=0.1, base_scale=1.5)
    assert command("reconstruct", photos[0], "-o", out, "--vae", packed, "--tiled") == 0
    assert command("pack", vae, *photos, "-o", packed, "--phases") == 0
    assert torch.equal(load_codec(packed).detail.axes, torch.eye(16))


def test_the_bundled_vae_is_packed_by_name_and_better_than_half_the_size(tmp_path):
    from skimage import data

    photo, packed, out = tmp_path / "p.png", tmp_path / "p.safetensors", tmp_path / "out"
    Image.fromarray(data.coffee()[:, :512]).save(photo)
    assert command("pack", "mini", photo, "-o", packed, "--detail-channels", 24) == 0
    codec, base = load_codec(packed, dtype=torch.float32), load_base_vae(mini.davae_path())
    assert codec.layout.base_scale == base.layout.base_scale
    assert command("reconstruct", photo, "-o", out, "--vae", packed) == 0
    found = json.loads((out / "report.json").read_text())["mean"]
    assert found["davae"]["psnr"] > found["base_half_size"]["psnr"]
    picture = crop_to_multiple(read_image(photo), 16)
    with torch.inference_mode():
        assert psnr(codec.decode(codec.encode(picture)), picture).item() == pytest.approx(
            found["davae"]["psnr"], abs=0.01
        )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--detail-channels", "17"], r"so 17 detail channels are too many"),
        (["--phases", "--detail-channels", "8"], "none can be left out"),
    ],
)
def test_a_packing_that_cannot_be_is_one_sentence(wrong, words, vae, photos, tmp_path, capsys):
    packed = tmp_path / "packed.safetensors"
    assert command("pack", vae, *photos, "-o", packed, *wrong) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(vae) in err and words in err
    assert not packed.exists()


@pytest.mark.parametrize(
    "wrong",
    [["--ratio", "3"], ["--detail-channels", "0"], ["--alignment", "1.1"], ["--alignment", "x"]],
)
def test_numbers_that_mean_nothing_are_wrong_usage(wrong, vae, photos, tmp_path):
    with pytest.raises(SystemExit) as left:
        command("pack", vae, *photos, "-o", tmp_path / "packed.safetensors", *wrong)
    assert left.value.code == 2


def test_photographs_that_cannot_be_used_are_named(vae, photos, tmp_path, capsys):
    packed, broken, tiny = tmp_path / "x.safetensors", tmp_path / "b.png", tmp_path / "t.png"
    broken.write_bytes(photos[0].read_bytes()[:100])
    Image.new("RGB", (3, 9)).save(tiny)
    for bad, words in (
        (broken, "is damaged"),
        (tiny, "is too small"),
        (tmp_path / "no.png", "exist"),
    ):
        assert command("pack", vae, photos[0], bad, "-o", packed) == 1
        err = capsys.readouterr().err
        assert str(bad) in err and words in err
    small = tmp_path / "small.png"
    Image.open(photos[0]).resize((16, 16)).save(small)
    assert command("pack", vae, small, "-o", packed) == 1
    assert "give more or larger photographs" in capsys.readouterr().err
    assert not packed.exists()


def test_the_base_of_a_davae_is_packed_and_no_source_is_overwritten(vae, photos, tmp_path, capsys):
    davae, compact = tmp_path / "davae.safetensors", tmp_path / "compact.safetensors"
    before = vae.read_bytes()
    layout = LatentLayout(4, 4, 2, 2, base_shift=0.1, base_scale=1.5)
    codec = DetailAlignedVAE(CodecConfig(layout, BACKBONE))
    save_codec(davae, codec)
    assert command("pack", davae, *photos, "-o", tmp_path / "x.safetensors") == 0
    packed = load_codec(tmp_path / "x.safetensors")
    assert torch.equal(packed.state_dict()["encoder.conv_in.weight"], codec.encoder.conv_in.weight)
    save_codec(compact, codec, compact=True)
    assert command("pack", compact, *photos, "-o", tmp_path / "y.safetensors") == 1
    assert f"{compact} is a compact DA-VAE, without its base decoder" in capsys.readouterr().err
    assert command("pack", vae, *photos, "-o", vae) == 1
    assert "a file that this command reads" in capsys.readouterr().err
    assert vae.read_bytes() == before
