"""The training guide from pictures to a release, its own commands one after the other at a small size on a CPU.

The codec grows from the bundled one's base VAE, captions are read by the bundled CLIP, and the transformer is a small
one of random weights under Stable Diffusion 3's names.
"""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core import mini
from davae_core.cli.commands import main as davae
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import write_safetensors
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.names import diffusers_to_stability
from tests.docs.test_training_guide import COMMANDS
from tests.training.conftest import fresh_accelerate  # noqa: F401
from training.__main__ import main as training
from training.dit.config import DitModelConfig, NewSizesConfig
from training.dit.transformer import build_transformer
from training.settings.yaml_config import override

ROOT = Path(__file__).parents[2]
BASE = "sd3.5_medium.safetensors"
CODEC = {
    "model.preset": "small",
    "model.base_vae": str(mini.davae_path()),
    "data.train": ["pictures/train"],
    "data.crop": 64,
    "data.workers": 0,
    "loss.perceptual.kind": "none",
    "train.steps": 3,
    "train.batch_size": 2,
    "train.accumulate": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.statistics_samples": 4,
    "validation.folders": ["pictures/val"],
    "validation.every": 3,
    "validation.size": 64,
    "output.checkpoint_every": 2,
}
DECODER = {key: value for key, value in CODEC.items() if key != "model.base_vae"}
CACHE = {
    "images.side": 64,
    "images.multiple": 32,
    "text.kind": "mini",
    "text.source": str(mini.clip_path()),
    "text.t5_tokens": 0,
    "work.device": "cpu",
    "work.precision": "fp32",
    "prompts": ["a red circle"],
}
ADAPTER = {
    "model.lora.rank": 4,
    "model.lora.alpha": 4,
    "data.workers": 0,
    "train.steps": 3,
    "train.batch_size": 2,
    "train.accumulate": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.recomputed_blocks": 0,
    "validation.every": 2,
    "validation.pictures": 2,
    "validation.samples_every": 2,
    "validation.sampling_steps": 2,
    "output.checkpoint_every": 2,
    "output.tensorboard": False,
}


def guide(*signs: str) -> list[str]:
    """The words of the one command of the guide that has all of `signs`, without what starts it."""
    (found,) = (line for line in COMMANDS if all(sign in line for sign in signs))
    words = shlex.split(found)
    return words[words.index("training") + 1 :] if "training" in words else words[1:]


def train(words: list[str], changes: dict[str, object]) -> None:
    stage, config, *rest = words
    told = [f"--set={override(key, value)}" for key, value in changes.items()]
    assert training([stage, str(ROOT / config), *rest, *told]) == 0


def folder_at(words: list[str], name: str) -> list[str]:
    return [
        f"output.folder={name}" if word.startswith("output.folder=") else word for word in words
    ]


def write_captioned(folder: Path, count: int, side: int) -> None:
    """Windows of the bundled photograph, other ones for every folder."""
    photograph = Image.open(mini.photograph_path()).convert("RGB")
    random = np.random.default_rng(len(folder.name))
    folder.mkdir(parents=True)
    for number in range(count):
        left, top = (int(random.integers(length - side)) for length in photograph.size)
        window = photograph.crop((left, top, left + side, top + side))
        window.save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text("a red circle on a grey background")


def write_base() -> None:
    """A transformer of random weights that reads the miniature CLIP's states."""
    torch.manual_seed(0)
    sizes = NewSizesConfig(2, (0,), context_width=4096, pooled_width=1344, positions=8)
    model = build_transformer(DitModelConfig(vae="v", train="full", sizes=sizes), None, 16, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    write_safetensors(Path(BASE), diffusers_to_stability(model.state_dict()), {})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A folder in which the guide has been followed; what it left is what the tests look at."""
    folder = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        follow_the_guide()
        yield folder


def follow_the_guide() -> None:
    for name, count, side in (
        ("train", 16, 64),
        ("val", 2, 64),
        ("train_2048", 2, 128),
        ("val_2048", 2, 128),
    ):
        write_captioned(Path("pictures") / name, count, side)
    write_base()
    train(guide("python", "published_sd3", "model.init=good"), CODEC)
    assert davae(guide("davae inspect")) == 0
    train(guide("python", "model.train=decoder"), DECODER)
    for name in ("train", "val"):
        words = guide("python", f"folders=pictures/{name} ", "work.batch_size")
        train(words, CACHE)
        larger = [word.replace(f"pictures/{name}", f"pictures/{name}_2048") for word in words]
        train(folder_at(larger, f"runs/cache_{name}_2048"), {**CACHE, "images.side": 128})
    dry = guide("--dry-run")
    train(dry, {**ADAPTER, "loss.ramp_steps": 1})
    joint = [word for word in dry if word != "--dry-run"]
    train(joint, {**ADAPTER, "loss.ramp_steps": 1})
    train(joint, {**ADAPTER, "loss.ramp_steps": 1, "train.steps": 5})
    detail = [word.replace("sd35_paper", "sd35_detail") for word in joint]
    without_ramp = {**ADAPTER, "loss.ramp_steps": 0, "output.name": "davae_sd35m_detail"}
    train(folder_at(detail, "runs/detail"), without_ramp)
    train(guide("model.start_from=runs/adapter/"), ADAPTER)
    drawn = ("--size", "64", "--steps", "2", "--count", "2", "--batch", "2", "--device", "cpu")
    evaluate = without(guide("davae evaluate runs/adapter"), "--best-by", "--inception", "--clip")
    assert davae([*evaluate, *drawn]) == 0
    codec = without(guide("davae evaluate --vae"), "--inception", "--lpips")
    assert davae([*codec, "--best-by", "psnr", "--device", "cpu"]) == 0
    assert davae(guide("davae merge")) == 0
    Path("statement.md").write_text("Four drawn pictures of this test, public domain.")
    assert davae(guide("davae card")) == 0
    (Path("ComfyUI") / "models").mkdir(parents=True)
    assert davae(guide("davae fetch release")) == 0


def without(words: list[str], *options: str) -> list[str]:
    """The words without these options and what follows each."""
    left = list(words)
    for option in options:
        place = left.index(option)
        del left[place : place + 2]
    return left


@pytest.mark.slow
def test_a_codec_and_its_decoder_are_trained_and_known_by_the_same_latents(made):
    codec, decoder = (
        made / "runs" / name / "davae_sd3.safetensors" for name in ("codec", "codec_decoder")
    )
    assert encoding_hash(codec) == encoding_hash(decoder)
    assert codec.read_bytes() != decoder.read_bytes()


@pytest.mark.slow
def test_the_first_picture_is_there_before_any_step(made):
    pictures = made / "runs" / "adapter" / "pictures"
    assert Image.open(pictures / "step_00000000_full.png").size[1] >= 64


@pytest.mark.slow
def test_a_finished_run_is_prolonged(made):
    told = json.loads((made / "runs" / "adapter" / "davae_sd35m_1024.json").read_text())
    assert told["config"]["train.steps"] == 5
    log = (made / "runs" / "adapter" / "log.jsonl").read_text().splitlines()
    ends = [json.loads(line)["step"] for line in log if json.loads(line)["event"] == "export"]
    assert ends[-1:] in ([5], []) and any(json.loads(line)["step"] == 5 for line in log)


@pytest.mark.slow
def test_both_kinds_of_adapter_and_one_of_twice_the_size_come_out(made):
    runs = made / "runs"
    joint = read_adapter(runs / "adapter" / "davae_sd35m_1024.safetensors")
    detail = read_adapter(runs / "detail" / "davae_sd35m_detail.safetensors")
    larger = read_adapter(runs / "adapter_2048" / "davae_sd35m_2048.safetensors")
    assert (joint.mode, detail.mode, larger.mode) == ("joint", "detail", "joint")
    assert joint.advice.sizes == (64,) and larger.advice.sizes == (128,)


@pytest.mark.slow
def test_every_adapter_of_the_run_is_judged_and_what_cannot_be_is_said(made):
    told = json.loads((made / "judged" / "adapter" / "evaluation.json").read_text())
    assert len(told["results"]) >= 3
    rebuilt = json.loads((made / "judged" / "codec" / "evaluation.json").read_text())
    (codec,) = rebuilt["results"]
    assert codec["scores"]["psnr"] > 10


@pytest.mark.slow
def test_the_release_is_laid_out_and_fetched_into_comfyui(made):
    card = (made / "release" / "README.md").read_text()
    assert "stabilityai-ai-community" in card and str(made) not in card
    models = made / "ComfyUI" / "models"
    assert (models / "loras" / "davae_sd35m_1024.safetensors").is_file()
    assert (models / "vae" / "davae_sd3.safetensors").is_file()
