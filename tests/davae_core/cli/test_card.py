"""`davae card`: the folder it lays out, what of this computer is not in it, and what it refuses."""

import json
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from davae_core import mini
from davae_core.cli.arguments import parser
from davae_core.cli.commands import main
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import file_hash
from davae_core.images import write_image
from tests.training.dit_fixtures import write_davae
from training.engine.tracking import Tracker

BASE = "stabilityai/stable-diffusion-3.5-medium"
STATED = (
    "--license", "other", "--license-name", "stabilityai-ai-community", "--license-link", "https://example.org/licence",
    "--base-model", BASE, "--data", "1600 drawn scenes, CC0, captions by the program that drew them.",
)  # fmt: skip


def command(*parts):
    return main(["card", *(str(part) for part in parts)])


@pytest.fixture
def run(tmp_path):
    """The folder of a run of stage 2 in which the miniature's adapter lies, as the trainer leaves it."""
    folder = tmp_path / "home of somebody" / "runs" / "adapter"
    (folder / "pictures").mkdir(parents=True)
    tracker = Tracker(folder, tensorboard=False, first_step=0)
    for step in range(1, 21):
        terms = {"loss": 2 / step, "base": 0.2, "detail": 1 / step, "gradient_norm": 0.5}
        tracker.write("train", step, {**terms, "learning_rate": 1e-4, "note": str(folder)})
    tracker.write("validation", 20, {"base": 0.125, "detail": 0.25, "velocity": float("nan")})
    settings = {
        "model.vae": str(folder.parent / "codec" / "davae.safetensors"),
        "model.base": "hf:owner/name:transformer",
        "data.caches": ["runs/cache_train", "C:\\caches\\more"],
        "loss.shift": 4.0,
        "train.steps": 20,
    }
    state = {"step": 20, "samples_per_step": 32, "wall_seconds": 7200.0, "pictures": str(folder)}
    (folder / "mini_adapter.json").write_text(json.dumps({"config": settings, "state": state}))
    for step, name in ((10, "full"), (20, "full"), (20, "draft")):
        path = folder / "pictures" / f"step_{step:08d}_{name}.png"
        notes = PngInfo()
        notes.add_text("where", str(folder))
        Image.new("RGB", (32, 16), (step, 90, 20)).save(path, pnginfo=notes)
    (folder / "mini_adapter.safetensors").write_bytes(mini.adapter_path().read_bytes())
    return folder


@pytest.fixture
def codec(tmp_path):
    path = tmp_path / "davae_mini.safetensors"
    path.write_bytes(mini.davae_path().read_bytes())
    return path


@pytest.fixture
def laid_out(run, codec, tmp_path, capsys):
    out = tmp_path / "for upload"
    files = (run / "mini_adapter.safetensors", codec)
    assert command(*files, "-o", out, *STATED, "--repo", "me/mini") == 0
    return out, capsys.readouterr()


def test_the_folder_has_files_card_manifest_curves_pictures_and_recipe(laid_out, run):
    out, said = laid_out
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {
        "README.md", "davae_manifest.json", "mini_adapter.safetensors", "davae_mini.safetensors",
        "curves_adapter.png", "log_adapter.jsonl", "recipe_adapter.json",
        "pictures/adapter_step_00000020_full.png", "pictures/adapter_step_00000020_draft.png",
    }  # fmt: skip
    assert shlex.split(said.out) == ["hf", "upload", "me/mini", str(out), "."]
    manifest = json.loads((out / "davae_manifest.json").read_text())
    assert [(file["name"], file["kind"]) for file in manifest["files"]] == [
        ("mini_adapter.safetensors", "adapter"), ("davae_mini.safetensors", "vae"),
    ]  # fmt: skip
    for file in manifest["files"]:
        assert file["sha256"] == file_hash(out / file["name"])
        assert file["bytes"] == (out / file["name"]).stat().st_size
    with Image.open(out / "curves_adapter.png") as picture:
        assert picture.width > 300 and len(picture.convert("L").getcolors(1 << 20) or []) > 10


def test_the_card_says_what_who_uploads_would_have_to_write(laid_out):
    out, _ = laid_out
    text = (out / "README.md").read_text(encoding="utf-8")
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "other" and card.data.license_name == "stabilityai-ai-community"
    assert card.data.base_model == [BASE] and card.data.pipeline_tag == "text-to-image"
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert {"comfyui", "vae", "lora"} <= set(card.data.tags)
    assert yaml.safe_load(text.split("---")[1])["library_name"] == card.data.library_name
    for words in (
        "1600 drawn scenes, CC0", "davae fetch me/mini --comfyui ComfyUI", "ComfyUI/models/loras",
        "Load DA-VAE SD3.5 Model", "steps: 20", "samples per step: 32", "hours: 2.0",
        "after step 20: base 0.125, detail 0.25", '"loss.shift": 4.0', "![training curves of adapter]",
        encoding_hash(mini.davae_path()), "hf:owner/name:transformer",
    ):  # fmt: skip
        assert words in text, words
    for path in out.rglob("*"):
        if path.is_file() and path.name not in ("README.md", "davae_manifest.json"):
            assert path.relative_to(out).as_posix() in text and file_hash(path) in text
    for target in (line.split("](")[1].split(")")[0] for line in text.splitlines() if "![" in line):
        assert (out / target).is_file()


def test_nothing_tells_where_files_lay_on_this_computer(laid_out, tmp_path):
    out, _ = laid_out
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            held = path.read_bytes()
            for place in (
                str(tmp_path),
                "home of somebody",
                str(Path.home()) + "/",
                "cache_train/",
            ):
                assert place.encode() not in held, (path, place)
    recipe = json.loads((out / "recipe_adapter.json").read_text())
    assert recipe["settings"]["model.vae"] == "davae.safetensors"
    assert recipe["settings"]["data.caches"] == ["cache_train", "more"]
    assert "note" not in json.loads((out / "log_adapter.jsonl").read_text().splitlines()[0])


def test_a_run_that_is_still_going_is_told_from_its_checkpoint(run, tmp_path):
    place = run / "checkpoints" / "step_00000010"
    place.mkdir(parents=True)
    told = json.loads((run / "mini_adapter.json").read_text())
    (run / "mini_adapter.json").unlink()
    (place / "state.json").write_text(
        json.dumps({**told["state"], "step": 10, "config": told["config"]})
    )
    (run / "mini_adapter.safetensors").rename(place / "mini_adapter.safetensors")
    out = tmp_path / "out"
    assert command(place / "mini_adapter.safetensors", "-o", out, *STATED) == 0
    assert "steps: 10" in (out / "README.md").read_text()


def test_a_codec_alone_without_a_run_is_a_card_too(codec, tmp_path, capsys):
    out, data = tmp_path / "out", tmp_path / "data.md"
    data.write_text("Photographs of mine, CC BY 4.0.")
    words = ("--license", "apache-2.0", "--base-model", BASE, "--data-file", data)
    assert command(codec, "-o", out, *words, "--title", "My codec") == 0
    card = ModelCard.load(out / "README.md")
    assert card.data.pipeline_tag == "image-to-image" and card.data.license == "apache-2.0"
    assert "# My codec" in card.text and "Photographs of mine" in card.text
    assert "hf upload OWNER/NAME" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "davae_manifest.json", codec.name,
    ]  # fmt: skip


def test_the_evaluation_of_these_very_files_is_in_the_card(codec, tmp_path, capsys):
    real, judged, out = tmp_path / "real", tmp_path / "judged", tmp_path / "out"
    real.mkdir()
    torch.manual_seed(0)
    write_image(real / "a.png", torch.rand(1, 3, 32, 32) * 2 - 1)
    assert main(["evaluate", "--vae", str(codec), "--real", str(real), "-o", str(judged)]) == 0
    report = judged / "evaluation.json"
    score = json.loads(report.read_text())["results"][0]["scores"]["psnr"]
    assert command(codec, "-o", out, *STATED, "--evaluation", report) == 0
    assert f"| davae_mini | 1 | {score:.2f} |" in (out / "README.md").read_text()
    assert (
        json.loads((out / "evaluation.json").read_text())["results"][0]["scores"]["psnr"] == score
    )
    capsys.readouterr()
    adapter = mini.adapter_path()
    assert command(adapter, "-o", tmp_path / "other", *STATED, "--evaluation", report) == 1
    assert "tells of none of the files that are published" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("--license", "under which licence the files are"),
        ("--data", "which pictures were trained on"),
        ("--base-model", "which model the files derive from"),
        ("--license-link", "needs the licence's name and address"),
    ],
)
def test_what_a_card_must_say_is_asked_for_in_one_sentence(
    left_out, words, codec, tmp_path, capsys
):
    stated = list(STATED)
    del stated[stated.index(left_out) : stated.index(left_out) + 2]
    assert command(codec, "-o", tmp_path / "out", *stated) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert not (tmp_path / "out").exists()


def changed(name, value):
    stated = list(STATED)
    stated[stated.index(name) + 1] = value
    return stated


def test_what_cannot_be_published_is_refused_and_leaves_nothing(run, codec, tmp_path, capsys):
    out, (adapter,) = tmp_path / "out", run.glob("*.safetensors")
    other = write_davae(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    odd = tmp_path / "a codec.safetensors"
    odd.write_bytes(codec.read_bytes())
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"format_version": 1}')
    for words, sentence in (
        ((mini.transformer_path(), *STATED), "is nothing that is published here"),
        ((adapter, other, *STATED), "was trained with another DA-VAE than those"),
        ((codec, *changed("--license", "My Licence")), "is no licence's id"),
        ((codec, *changed("--license", "mit")), "belong to --license other"),
        ((codec, *changed("--license-link", "ftp://x")), "must begin with https://"),
        ((codec, *changed("--base-model", "here")), "is owner/name"),
        ((codec, *changed("--data", f"lies in {tmp_path}/photos")), "would tell of the folder"),
        ((codec, *STATED, "--repo", "x"), "--repo is x"),
        ((codec, *STATED, "--run", tmp_path), "has no log.jsonl"),
        ((codec, *STATED, "--evaluation", damaged), "is no report of `davae evaluate`"),
        ((codec, *STATED, "--evaluation", tmp_path / "no"), "cannot be read"),
        ((odd, *STATED), "cannot be published under its name"),
        ((codec, codec, *STATED), "Two files are called davae_mini.safetensors"),
    ):  # fmt: skip
        assert command(*words, "-o", out) == 1, words
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and error[0].startswith("davae: ") and sentence in error[0], error
        assert not out.exists()
    assert command(codec, "-o", full, *STATED) == 1
    assert "not empty: name a new folder" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_a_card_is_asked_for_as_the_help_says():
    options = parser().parse_args(["card", "a.safetensors", "-o", "out", "--run", "a", "b"])
    assert options.run == [Path("a"), Path("b")] and options.base_model == []
