"""The commands at work; what they do with bad input is in test_cli_bad_input.py."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from davae_core.cli.commands import main
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_codec, save_codec
from davae_core.images import read_image
from davae_core.latents import crop_to_multiple
from davae_core.presets import SD3


@pytest.fixture
def codec_file(tmp_path):
    torch.manual_seed(0)
    layout = replace(SD3.layout, base_factor=4)
    config = CodecConfig(layout, KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4))
    path = tmp_path / "davae_tiny.safetensors"
    save_codec(path, DetailAlignedVAE(config))
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_encode_writes_the_codecs_latent_of_the_centrally_cropped_picture(
    codec_file, photo, tmp_path, capsys
):
    latent = tmp_path / "latent.safetensors"
    assert main(["encode", str(photo), "-o", str(latent), "--vae", str(codec_file)]) == 0
    codec = load_codec(codec_file)
    with torch.inference_mode():
        wanted = codec.encode(crop_to_multiple(read_image(photo), 8))
    assert torch.equal(load_file(latent)["samples"], wanted)
    out, err = capsys.readouterr()
    assert "latent [32, 5, 8] of 64x40 pixels" in out
    assert "cropped from 67x45 to 64x40 pixels" in err


def test_decode_gives_back_the_picture_and_a_draft_of_half_the_size(codec_file, photo, tmp_path):
    latent, whole, draft = (tmp_path / name for name in ("l.safetensors", "whole.png", "draft.png"))
    vae = ["--vae", str(codec_file)]
    assert main(["encode", str(photo), "-o", str(latent), *vae]) == 0
    assert main(["decode", str(latent), "-o", str(whole), *vae]) == 0
    assert main(["decode", str(latent), "-o", str(draft), "--draft", *vae]) == 0
    codec = load_codec(codec_file)
    with torch.inference_mode():
        wanted = codec.decode(load_file(latent)["samples"])
    # Half a step of 8 bits is 1/255 here; the rest is for computing in another order.
    assert (read_image(whole) - wanted).abs().max() <= 1 / 255 + 1e-4
    assert Image.open(draft).size == (32, 20)


def test_tiles_give_latents_and_pictures_of_the_same_size(codec_file, photo, tmp_path):
    vae = ["--vae", str(codec_file), "--tiled"]
    latent, picture = tmp_path / "l.safetensors", tmp_path / "p.png"
    assert main(["encode", str(photo), "-o", str(latent), *vae]) == 0
    assert main(["decode", str(latent), "-o", str(picture), *vae]) == 0
    assert Image.open(picture).size == (64, 40)


@pytest.mark.parametrize("kind", ["alpha", "16 bit", "palette"])
def test_pictures_of_other_kinds_are_read_as_what_they_show(kind, codec_file, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    plain = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    others = {
        "alpha": Image.fromarray(np.dstack([np.asarray(plain), grey])),
        "16 bit": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette": Image.fromarray(grey).convert("P"),
    }
    plain.save(tmp_path / "plain.png")
    others[kind].save(tmp_path / "other.png")
    for name in ("plain", "other"):
        source, latent = tmp_path / f"{name}.png", tmp_path / f"{name}.safetensors"
        assert main(["encode", str(source), "-o", str(latent), "--vae", str(codec_file)]) == 0
    first, second = (
        load_file(tmp_path / f"{n}.safetensors")["samples"] for n in ("plain", "other")
    )
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


def test_a_strip_of_7000_by_16_pixels_goes_through(codec_file, tmp_path):
    strip, latent = tmp_path / "strip.png", tmp_path / "strip.safetensors"
    Image.new("RGB", (7000, 16), (200, 40, 90)).save(strip)
    assert main(["encode", str(strip), "-o", str(latent), "--vae", str(codec_file)]) == 0
    assert load_file(latent)["samples"].shape == (1, 32, 2, 875)


def test_reconstruct_writes_pictures_side_by_side_and_their_scores(
    codec_file, photo, tmp_path, capsys
):
    out = tmp_path / "out"
    vae = ["--vae", str(codec_file)]
    assert main(["reconstruct", str(photo), "-o", str(out), *vae]) == 0
    assert {path.name for path in out.iterdir()} == {
        "photo_davae.png",
        "photo_comparison.png",
        "report.json",
    }
    found = json.loads((out / "report.json").read_text())
    (picture,) = found["pictures"]
    assert (picture["name"], picture["width"], picture["height"]) == ("photo", 64, 40)
    davae = picture["ways"]["davae"]
    assert (davae["latent_shape"], davae["tokens"]) == ([32, 5, 8], 12)
    assert found["mean"]["davae"]["psnr"] == davae["psnr"]
    assert f"{davae['psnr']:.2f} dB" in capsys.readouterr().out


def test_a_compact_file_reconstructs_without_the_base_column(codec_file, photo, tmp_path):
    compact = tmp_path / "compact.safetensors"
    save_codec(compact, load_codec(codec_file), compact=True)
    out = tmp_path / "out"
    assert main(["reconstruct", str(photo), "-o", str(out), "--vae", str(compact)]) == 0
    assert list(json.loads((out / "report.json").read_text())["mean"]) == ["davae"]


def test_inspect_prints_sentences_or_json(codec_file, capsys):
    assert main(["inspect", str(codec_file)]) == 0
    assert "davae_tiny.safetensors is a DA-VAE" in capsys.readouterr().out
    assert main(["inspect", str(codec_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "vae" and found["metadata"]["layout"]["detail_channels"] == 16


def test_convert_makes_a_published_checkpoint_ours(published_file, tmp_path, capsys):
    ours = tmp_path / "ours.safetensors"
    assert main(["convert", str(published_file), "-o", str(ours)]) == 0
    assert "ours.safetensors is a DA-VAE" in capsys.readouterr().out
    statistics = json.loads((published_file.parent / "latent_norm_stats.json").read_text())
    assert load_codec(ours).detail.mean.tolist() == pytest.approx(statistics["mean"])


def test_convert_can_take_the_base_vae_and_leave_its_decoder_out(
    published_file, published, golden, tmp_path
):
    without = {k: v for k, v in published.items() if not k.startswith("original_vae_model.")}
    torch.save(without, published_file)
    whole, compact = tmp_path / "whole.safetensors", tmp_path / "compact.safetensors"
    base = ["--base", str(golden / "base_vae")]
    assert main(["convert", str(published_file), "-o", str(whole), *base]) == 0
    assert main(["convert", str(published_file), "-o", str(compact), *base, "--compact"]) == 0
    assert load_codec(whole).decoder is not None
    assert load_codec(compact).decoder is None


@pytest.mark.parametrize("rest", ["--base", "--compact"])
def test_convert_completes_a_source_that_holds_only_the_base_encoder(
    rest, published_file, published, golden, tmp_path
):
    base_decoder = "original_vae_model.vae.decoder."
    torch.save(
        {k: v for k, v in published.items() if not k.startswith(base_decoder)}, published_file
    )
    output = tmp_path / "ours.safetensors"
    given = [rest, str(golden / "base_vae")] if rest == "--base" else [rest]
    assert main(["convert", str(published_file), "-o", str(output), *given]) == 0
    assert (load_codec(output).decoder is None) == (rest == "--compact")


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["encode", "x.png"], ["encode", "x.png", "-o", "x.bin", "--vae", "mini"]],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: davae" in capsys.readouterr().err


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "davae_core", "--help"], capture_output=True)
    assert done.returncode == 0 and b"reconstruct" in done.stdout


@pytest.mark.slow
def test_demo_beats_the_base_at_half_size_on_photographs_it_has_never_seen(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    found = json.loads((tmp_path / "demo" / "report.json").read_text())
    names = {picture["name"] for picture in found["pictures"]}
    assert names == {"astronaut", "coffee", "chelsea", "rocket", "camera", "china"}
    for picture in found["pictures"]:
        ways = picture["ways"]
        assert ways["davae"]["psnr"] > ways["base_half_size"]["psnr"]
        # Odd sides are padded to whole tokens, which costs the smaller grid relatively more.
        assert 3.5 < ways["base_full_size"]["tokens"] / ways["davae"]["tokens"] <= 4
    sheet = Image.open(tmp_path / "demo" / "contact_sheet.png")
    assert sheet.size[0] > 4 * 512
    assert "astronaut" in capsys.readouterr().out
    drawn = found["from_prompts"]
    assert drawn["tokens"] == 64 and len(drawn["prompts"]) == 8
    grid = Image.open(tmp_path / "demo" / "from_prompts.png").convert("RGB")
    # In every way the middle of the red circle on the left, then of the blue square on the right.
    for way in range(3):
        middle = 12 + way * 276 + 20 + 128
        red, blue = grid.getpixel((12 + 69, middle)), grid.getpixel((12 + 187, middle))
        assert red[0] > 2 * max(red[1:]) and blue[2] > 1.5 * max(blue[:2])
    assert (drawn["joint"]["steps"], drawn["detail"]["steps"]) == (20, 10)
