"""docs/imagenet.md cannot rot: its commands parse, and run one after the other at a small size on real files."""

import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from davae_core.cli.commands import main as davae
from tests.docs.test_training_guide import code_lines, parse
from tests.training.conftest import fresh_accelerate  # noqa: F401
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
    (made / "n01_0.JPEG").rename(made / "ILSVRC2012_val_00000001.JPEG")
    pack(folder / "ILSVRC2012_img_val.tar", ["ILSVRC2012_val_00000001.JPEG"], made)


def test_every_command_runs_in_the_order_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tar_files(tmp_path)
    for line in SHELL:
        subprocess.run(["bash", "-ec", line], check=True, timeout=60)
    assert (tmp_path / "imagenet" / "classes.txt").read_text().split() == list(CLASSES)
    write_vavae(tmp_path / "vavae-imagenet256-f16d32-dinov2.pt")
    write_lightning(tmp_path / "lightningdit-xl-imagenet256-800ep.pt", len(CLASSES))
    for command in COMMANDS:
        if command.startswith("davae"):
            assert davae(shlex.split(command)[1:]) == 0
            continue
        stage, config, *rest = words_of(command)
        told = [f"--set={override(*item)}" for item in SIZES[stage].items()]
        assert training([stage, str(ROOT / config), *rest, *told]) == 0, command
    said = capsys.readouterr().out
    assert "LightningDiT of width 32" in said and "Trainable parameters" in said
    assert "6 pictures in runs/imagenet_cache, 0 left out" in said
    pictures = sorted((tmp_path / "runs" / "imagenet_samples").glob("*.png"))
    assert [Image.open(path).size for path in pictures] == [(SIDE, SIDE)] * 3
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
    assert re.search(r"160 000 steps are|1\.68 to 160 000", TEXT)
