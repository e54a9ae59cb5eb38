"""docs/imagenet.md cannot rot: its commands parse, and run one after the other at a small size on real files."""

# ruff: noqa: F401, F811 (fixtures of other files)

import json
import re
import shlex
import subprocess
import tarfile
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import yaml
from PIL import Image

from davae_core.cli.commands import main as davae
from davae_core.flow import even_sigmas
from tests.davae_core.evaluation.conftest import inception_file
from tests.docs.test_training_guide import code_lines, parse
from tests.training.conftest import fresh_accelerate
from tests.training.imagenet_files import (
    CACHE,
    CODEC,
    DIT,
    SAMPLES,
    SIDE,
    write_lightning,
    write_vavae,
)
from training.__main__ import main as training
from training.settings.yaml_config import override

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "imagenet.md").read_text(encoding="utf-8")
LINES = [line for line in code_lines(TEXT) if line]
SHELL = [line for line in LINES if line.startswith(("mkdir", "tar", "for", "ls"))]
COMMANDS = [line for line in LINES if line not in SHELL and "benchmarks" not in line]
SIZES = {"vae": CODEC, "cache": CACHE, "dit": DIT, "sample": SAMPLES}
CLASSES = ("n01", "n02", "n03")


def words_of(command: str) -> list[str]:
    """A trainer's words, without what starts it on many GPUs."""
    words = shlex.split(command)
    return words[words.index("training") + 1 :]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    parse(shlex.split(command))


def test_the_page_leads_through_every_stage():
    stages = [words_of(line)[0] for line in COMMANDS if "training" in shlex.split(line)]
    assert stages == ["vae", "cache", "dit", "dit", "sample", "cache", "dit"]
    assert [line.split()[0] for line in SHELL] == ["mkdir", "tar", "for", "tar", "ls"]


def pack(path: Path, names: list[str], folder: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.add(folder / name, arcname=name)


def write_tar_files(folder: Path) -> None:
    """ImageNet's two tar files, of three classes: one of tar files, one of pictures."""
    made, random = folder / "made", np.random.default_rng(0)
    made.mkdir()
    for name in CLASSES:
        pictures = [f"{name}_{number}.JPEG" for number in range(2)]
        for picture in pictures:
            pixels = random.integers(0, 256, (SIDE, SIDE + 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(made / picture, format="JPEG")
        pack(made / f"{name}.tar", pictures, made)
    pack(folder / "ILSVRC2012_img_train.tar", [f"{name}.tar" for name in CLASSES], made)
    held_out = [f"ILSVRC2012_val_0000000{number}.JPEG" for number in range(1, 5)]
    for name, picture in zip(held_out, sorted(made.glob("*.JPEG")), strict=False):
        picture.rename(made / name)
    pack(folder / "ILSVRC2012_img_val.tar", held_out, made)


def judged(folder: Path) -> set[str]:
    """The names of the scores that `davae evaluate` wrote."""
    (found,) = json.loads((folder / "evaluation.json").read_text())["results"]
    return set(found["scores"])


def test_every_command_runs_in_the_order_of_the_page(inception_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tar_files(tmp_path)
    for line in SHELL:
        subprocess.run(["bash", "-ec", line], check=True, timeout=60)
    assert (tmp_path / "imagenet" / "classes.txt").read_text().split() == list(CLASSES)
    write_vavae(tmp_path / "vavae-imagenet256-f16d32-dinov2.pt")
    write_lightning(tmp_path / "lightningdit-xl-imagenet256-800ep.pt", len(CLASSES))
    copy(inception_file, tmp_path / "weights-inception-2015-12-05-6726825d.pth")
    for command in COMMANDS:
        if command.startswith("davae"):
            words = [str(SIDE) if word == "512" else word for word in shlex.split(command)]
            assert davae(words[1:]) == 0, command
            continue
        stage, config, *rest = words_of(command)
        told = [f"--set={override(*item)}" for item in SIZES[stage].items()]
        assert training([stage, str(ROOT / config), *rest, *told]) == 0, command
    said = capsys.readouterr().out
    assert "LightningDiT of width 32" in said and "Trainable parameters" in said
    assert "6 pictures in runs/imagenet_cache, 0 left out" in said
    pictures = sorted((tmp_path / "runs" / "imagenet_samples").glob("*.png"))
    assert [Image.open(path).size for path in pictures] == [(SIDE, SIDE)] * 3
    # Three pictures are too few for IS, and for precision and recall.
    assert judged(tmp_path / "judged" / "imagenet") == {"fid", "kid", "kid_std"}
    assert judged(tmp_path / "judged" / "imagenet_codec") == {"rfid", "kid", "kid_std", "psnr", "ssim"}  # fmt: skip
    assert len(list((tmp_path / "runs").glob("imagenet_dit*/davae_*.safetensors"))) == 2


def test_the_recipes_hold_the_numbers_of_the_page():
    dit, samples = (
        yaml.safe_load((ROOT / "training" / "configs" / f"imagenet_{name}.yaml").read_text())
        for name in ("dit", "samples")
    )
    assert dit["train"]["steps"] == 160_000 and dit["train"]["batch_size"] * 8 == 640
    assert samples["samples"]["count"] == 50_000
    assert dit["validation"]["sampling_steps"] == 250 - 1
    assert dit["validation"]["shift"] == pytest.approx(1 / 0.3)
    assert dit["validation"]["guided_below"] == pytest.approx(1 - 0.2)
    guided = int((even_sigmas(249, 1 / 0.3)[:-1] <= 0.8).sum())
    assert f"Of the 249 steps {guided} are guided, so a picture takes {249 + guided} passes" in TEXT
    assert re.search(r"160 000 steps are|1\.68 to 160 000", TEXT)
