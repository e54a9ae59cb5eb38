"""`davae evaluate`: what it makes of pictures, codecs, adapters and runs, what it keeps, and what it refuses."""

# ruff: noqa: F401, F811 (fixtures of other files)

import json
from dataclasses import replace
from shutil import copy

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from davae_core import mini
from davae_core.cli.commands import main
from davae_core.codec.files import load_codec
from davae_core.files import file_hash
from davae_core.transformer.adapter import read_adapter, write_adapter
from davae_core.transformer.pretrained import load_transformer
from tests.davae_core.evaluation.conftest import (
    changed,
    clip_folder,
    inception_file,
    lpips_file,
    write_pictures,
)
from tests.davae_core.test_pipeline import adapter, detail_adapter, folder
from tests.training.dit_fixtures import write_base_transformer, write_davae
from tests.training.dit_fixtures import write_cache as write_latent_cache
from tests.training.random_adapters import random_adapter
from training.cache.latent_cache import shard_path

CAPTIONS = "a red cat\n\na dog\na b c\n"


def command(*parts):
    return main(["evaluate", *(str(part) for part in parts)])


def report(out):
    return json.loads((out / "evaluation.json").read_text())


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text(CAPTIONS)
    return path


@pytest.fixture
def drawing(folder, captions):
    """How the tiny pipeline's adapters draw."""
    sizes = ("--size", "96x64", "--steps", 2, "--guidance", 1.5, "--seed", 5)
    return ("--base", folder, "--vae", "mini", "--captions", captions, *sizes)


def test_real_pictures_are_brought_to_a_square_before_a_codec_rebuilds_them(tmp_path, capsys):
    real, out = write_pictures(tmp_path / "real", 2, side=70), tmp_path / "out"
    Image.open(real / "00.png").resize((90, 50)).save(real / "00.png")
    asked = ("--vae", "mini", "--real", real, "-o", out)
    assert command(*asked, "--square", 32) == 0
    assert [Image.open(path).size for path in sorted((out / "mini_davae").glob("*.png"))] == [
        (32, 32),
        (32, 32),
    ]
    assert report(out)["real"] == {"folder": "real", "pictures": 2, "square": 32}
    assert command(*asked, "--square", 48) == 1
    assert "made otherwise (square differs)" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command(*asked, "--square", 8)
    assert "8 is no whole number from 16 to 4096" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bundled_codec_is_judged_and_goes_on_where_it_was_stopped(
    inception_file,
    lpips_file,
    tmp_path,
    capsys,
):
    real, out = write_pictures(tmp_path / "real", 3, side=70), tmp_path / "out"
    networks = ("--inception", inception_file, "--lpips", lpips_file)
    assert command("--vae", "mini", "--real", real, "-o", out, *networks) == 0
    said = capsys.readouterr().out
    assert "rFID" in said and "Left out: CLIP (no --clip was given" in said and "Best" not in said
    (found,) = report(out)["results"]
    assert found["kind"] == "vae" and found["pictures"] == 3
    assert found["sha256"] == file_hash(mini.davae_path())
    assert set(found["scores"]) == {"rfid", "kid", "kid_std", "psnr", "ssim", "lpips"}
    assert report(out)["real"] == {"folder": "real", "pictures": 3}
    rebuilt = sorted((out / "mini_davae").glob("*.png"))
    assert Image.open(rebuilt[0]).size == (64, 64)
    times = [path.stat().st_mtime_ns for path in rebuilt]
    before, first = rebuilt[0].read_bytes(), report(out)
    rebuilt[0].unlink()
    assert command("--vae", "mini", "--real", real, "-o", out, *networks) == 0
    assert rebuilt[0].read_bytes() == before and report(out) == first
    assert [path.stat().st_mtime_ns for path in rebuilt[1:]] == times[1:]


def test_a_codecs_psnr_and_ssim_are_those_of_reconstruct(tmp_path):
    real, out = write_pictures(tmp_path / "real", 2), tmp_path / "out"
    assert command(mini.davae_path(), "--real", real, "-o", out) == 0
    pictures = sorted(str(path) for path in real.glob("*.png"))
    assert main(["reconstruct", *pictures, "-o", str(tmp_path / "r"), "--vae", "mini"]) == 0
    wanted = json.loads((tmp_path / "r" / "report.json").read_text())["mean"]["davae"]
    scores = report(out)["results"][0]["scores"]
    # Ours are of the pictures as they are written, in bytes.
    assert scores["psnr"] == pytest.approx(wanted["psnr"], abs=0.02)
    assert scores["ssim"] == pytest.approx(wanted["ssim"], abs=1e-3)


def test_a_folder_rebuilt_elsewhere_is_compared_name_by_name(tmp_path, capsys):
    real, out = write_pictures(tmp_path / "real", 2), tmp_path / "out"
    near, far = (changed(real, tmp_path / name, a) for name, a in (("near", 5.0), ("far", 40.0)))
    assert command(far, near, "--real", real, "--rebuilt", "-o", out) == 0
    said = capsys.readouterr().out
    assert "Best by PSNR: near." in said and "Left out: rFID, KID (no --inception" in said
    assert report(out)["best"] == {"by": "psnr", "name": "near"}
    assert command(far, near, "--real", real, "-o", out) == 0
    assert "PSNR, SSIM, LPIPS (they compare" in capsys.readouterr().out
    (real / "00.png").rename(real / "other.png")
    assert command(near, "--real", real, "--rebuilt", "-o", out) == 1
    assert "is no picture of --real" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_every_adapter_beside_its_checkpoints_and_the_best_is_named(
    adapter,
    drawing,
    inception_file,
    clip_folder,
    tmp_path,
    capsys,
):
    real, run, out = write_pictures(tmp_path / "real", 4), tmp_path / "run", tmp_path / "out"
    for step in (100, 200):
        place = run / "checkpoints" / f"step_{step:08d}"
        place.mkdir(parents=True)
        found = read_adapter(adapter)
        lora = {name: tensor * step / 100 for name, tensor in found.lora.items()}
        for name in ("x", "x_live"):
            write_adapter(place / f"{name}.safetensors", replace(found, lora=lora))
        (place / "model.safetensors").write_bytes(plain_weights())
    copy(place / "x.safetensors", run / "x.safetensors")
    networks = ("--inception", inception_file, "--clip", clip_folder)
    assert command(run, "--real", real, "-o", out, *drawing, *networks) == 0
    said = capsys.readouterr().out
    names = ["step_00000100_x", "step_00000200_x"]
    found = report(out)
    assert [result["name"] for result in found["results"]] == names
    fids = [result["scores"]["fid"] for result in found["results"]]
    best = names[fids.index(min(fids))]
    assert f"Best by FID: {best}." in said and found["best"] == {"by": "fid", "name": best}
    assert all(result["scores"]["clip"] >= 0 for result in found["results"])
    assert found["results"][0]["made_with"]["steps"] == 2
    assert command(run, "--real", real, "-o", out, *drawing, *networks, "--best-by", "clip") == 0
    assert "Best by CLIP" in capsys.readouterr().out
    assert str(tmp_path) not in json.dumps(found)


def plain_weights():
    """A checkpoint's own weights, which say nothing of themselves."""
    return save({"a.lora_A.default.weight": torch.zeros(1)})


def test_pictures_that_are_drawn_stay_and_the_others_are_drawn_as_they_would_have_been(
    adapter,
    drawing,
    tmp_path,
    capsys,
):
    out, batch = tmp_path / "out", ("--batch", 2)
    assert command(adapter, "-o", out, *drawing, *batch) == 0
    place = out / adapter.stem
    drawn = {path.name: path.read_bytes() for path in place.glob("*.png")}
    assert sorted(drawn) == ["000000.png", "000001.png", "000002.png"]
    assert len(set(drawn.values())) == 3 and Image.open(place / "000000.png").size == (96, 64)
    time = (place / "000002.png").stat().st_mtime_ns
    (place / "000001.png").unlink()
    assert command(adapter, "-o", out, *drawing, *batch) == 0
    assert {path.name: path.read_bytes() for path in place.glob("*.png")} == drawn
    assert (place / "000002.png").stat().st_mtime_ns == time
    assert command(adapter, "-o", out, *drawing, "--count", 2) == 0
    assert report(out)["results"][0]["pictures"] == 2
    capsys.readouterr()
    assert command(adapter, "-o", out, *drawing, "--steps", 3) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "made otherwise (steps differs)" in error
    assert command(adapter, "-o", tmp_path / "other", *drawing, "--seed", 6, "--count", 1) == 0
    shifted = tmp_path / "other" / adapter.stem / "000000.png"
    assert shifted.read_bytes() != drawn["000000.png"]


def test_a_picture_does_not_depend_on_those_beside_it(adapter, drawing, tmp_path):
    for name, batch in (("one", 1), ("three", 3)):
        assert command(adapter, "-o", tmp_path / name, *drawing, "--batch", batch) == 0
    for number in range(3):
        one, three = (
            torch.tensor(list(Image.open(tmp_path / n / adapter.stem / f"00000{number}.png").tobytes()))
            for n in ("one", "three")
        )  # fmt: skip
        assert (one - three).abs().max() <= 1


def test_merged_models_and_detail_adapters_draw_too(
    adapter,
    detail_adapter,
    drawing,
    folder,
    tmp_path,
    capsys,
):
    merged = adapter.with_name("merged.safetensors")
    out = tmp_path / "out"
    words = [*drawing, "--count", 1, "--text", folder]
    assert command(merged, detail_adapter, "-o", out, *words) == 0
    found = report(out)["results"]
    assert [result["kind"] for result in found] == ["merged", "adapter"]
    assert (
        command(detail_adapter.with_name("merged.safetensors"), "-o", tmp_path / "o", *words) == 1
    )
    assert "draws the detail alone" in capsys.readouterr().err


def test_the_bundled_miniature_draws_without_a_file(captions, tmp_path):
    captions.write_text("a red circle on the left, on a grey background\n")
    out = tmp_path / "out"
    how = ("--base", "mini", "--vae", "mini", "--captions", captions, "--steps", 2)
    assert command(mini.adapter_path(), mini.detail_adapter_path(), "-o", out, *how) == 0
    assert Image.open(out / "mini_adapter" / "000000.png").size == (256, 256)
    assert [result["made_with"]["steps"] for result in report(out)["results"]] == [2, 2]


def test_the_captions_of_a_cache_are_drawn_with_its_text_states(tmp_path, capsys):
    davae, base = write_davae(tmp_path), write_base_transformer(tmp_path)
    cache = write_latent_cache(tmp_path / "cache", davae, True, [(4, 4)] * 3, t5_tokens=2)
    layout = load_codec(davae).layout
    adapter_file = tmp_path / "random.safetensors"
    write_adapter(adapter_file, random_adapter(load_transformer(base), layout, "to_q")[1])
    out = tmp_path / "out"
    how = ("--base", base, "--vae", davae, "--captions", cache, "--size", 16, "--steps", 2)
    assert command(adapter_file, "-o", out, *how) == 0
    assert len(list((out / "random").glob("*.png"))) == 3
    assert report(out)["results"][0]["made_with"]["text"] == "cache"
    with shard_path(cache, 1).open("ab") as file:
        file.write(b"x")
    assert command(adapter_file, "-o", tmp_path / "again", *how) == 1
    assert "shard_00001.safetensors is damaged" in capsys.readouterr().err


def test_what_is_missing_is_said_before_anything_is_drawn(
    adapter,
    folder,
    captions,
    tmp_path,
    capsys,
):
    pictures = write_pictures(tmp_path / "p", 1)
    for words, sentence in (
        ((), "Nothing to judge was given"),
        ((adapter,), "draws captions: name a file of them"),
        ((adapter, "--vae", "mini"), "draws captions: name a file of them"),
        (("--vae", "mini"), "name a folder of photographs for it to rebuild with --real"),
        ((pictures, "--rebuilt"), "--rebuilt compares with real pictures"),
        ((pictures, "--best-by", "fid"), "--best-by fid cannot be: no --inception was given"),
        ((adapter, "--vae", "mini", "--captions", captions), "does not say at which size"),
        ((adapter, "--vae", "mini", "--captions", captions, "--size", 64), "with --base"),
        ((mini.transformer_path(),), "cannot be judged (mini_transformer.safetensors is a diffusion transformer)"),
        ((pictures, pictures), "would both be called p"),
        ((tmp_path / "gone.safetensors",), "does not exist"),
        ((adapter, "--vae", "mini", "--captions", tmp_path), "is no cache of `python -m training"),
        ((adapter, "--vae", "mini", "--captions", tmp_path / "no"), "does not exist: name a text"),
        ((pictures, pictures.parent / "p2", "--best-by", "psnr"), "has the score psnr"),
    ):  # fmt: skip
        write_pictures(tmp_path / "p2", 1, seed=3)
        assert command(*words, "-o", tmp_path / "out") == 1, words
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and error[0].startswith("davae: ") and sentence in error[0], error
        assert not list((tmp_path / "out").rglob("*.png")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(
    "wrong", [["--size", "64x"], ["--size", "0"], ["--steps", "0"], ["--best-by", "kid_std"]]
)
def test_words_that_mean_nothing_are_wrong_usage(wrong, tmp_path):
    with pytest.raises(SystemExit) as left:
        command("--vae", "mini", "-o", tmp_path, *wrong)
    assert left.value.code == 2


def test_something_else_in_the_output_folder_is_left_alone(tmp_path, capsys):
    real, out = write_pictures(tmp_path / "real", 1), tmp_path / "out"
    write_pictures(out / "mini_davae", 1)
    assert command("--vae", "mini", "--real", real, "-o", out) == 1
    assert "holds something else than pictures to judge" in capsys.readouterr().err
