import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from davae_core.codec.small import SmallDecoder, SmallEncoder
from davae_core.files import write_safetensors
from davae_core.latents import LatentLayout
from davae_core.presets import SMALL
from tests.training.dit_fixtures import write_cache
from training.base_source import load_base_source
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.dit.train import DitTraining
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.trainees import build_trainee

ROOT = Path(__file__).parents[2]
DIFFUSERS_VAE = ROOT / "tests" / "data" / "golden" / "base_vae"


def test_a_file_of_ours_brings_its_shift_and_scale(base_file: Path) -> None:
    base = load_base_source(str(base_file), "model.base_vae", channels=4)
    assert base.layout == LatentLayout(4, 0, 2, 1, 0.25, 2.0)


def test_a_diffusers_folder_is_read(tmp_path: Path) -> None:
    settings = json.loads((DIFFUSERS_VAE / "config.json").read_text())
    base = load_base_source(str(DIFFUSERS_VAE), "vae.file", settings["latent_channels"])
    assert base.layout.base_scale == pytest.approx(settings["scaling_factor"])


def test_a_small_vae_of_other_latents_does_not_pass_for_sd3_s(tmp_path: Path) -> None:
    halves = {
        "encoder": SmallEncoder(SMALL.backbone, 16),
        "decoder": SmallDecoder(SMALL.backbone, 16),
    }
    for half, module in halves.items():
        write_safetensors(tmp_path / f"taef1_{half}.safetensors", module.state_dict(), {})
    with pytest.raises(
        TrainingError, match=r"taef1_encoder.* not Stable Diffusion 3's \(likeness .*TAEF1"
    ):
        load_base_source(str(tmp_path / "taef1_encoder.safetensors"), "model.base_vae")


@pytest.mark.parametrize(
    "source", ["nowhere.safetensors", "folder/vae.safetensors", "/no/such", "x"]
)
def test_a_path_that_does_not_exist_is_named(source: str) -> None:
    with pytest.raises(TrainingError, match="which does not exist: give a VAE file"):
        load_base_source(source, "vae.file")


def test_stage_1_the_cache_and_stage_2_each_name_their_own_setting(
    make_config: Any, cache_config: Any, dit_config: Any, base_vae: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"^model\.base_vae names /gone, which does not exist"):
        build_trainee(make_config(model__base_vae="/gone").model, False)
    with pytest.raises(TrainingError, match=r"^model\.base_vae names /gone, which does not exist"):
        build_trainee(make_config(model__kind="base_vae", model__base_vae="/gone").model, False)
    caching = read_config(CacheConfig, cache_config(vae__kind="base_vae", vae__file="/gone"))
    with pytest.raises(TrainingError, match=r"^vae\.file names /gone, which does not exist"):
        make_cache(caching)
    cache = str(write_cache(tmp_path / "plain", base_vae, False, [(4, 4)] * 2))
    changes = {"model__train": "full", "data__caches": [cache], "validation__cache": None}
    training = DitTraining(dit_config(model__vae=str(base_vae), **changes))
    base_vae.unlink()
    with pytest.raises(TrainingError, match=r"^model\.vae names .*, which does not exist"):
        training.decoder.full(torch.zeros(1, 16, 4, 4))
    with pytest.raises(TrainingError, match=r"^model\.vae names .*, which does not exist"):
        DitTraining(training.config)


def offline(code: str, cache: Path) -> str:
    """What `code` prints with a Hugging Face cache of its own and no network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


def test_a_hugging_face_id_is_found_in_the_cache_or_refused_in_a_sentence(tmp_path: Path) -> None:
    revision = "0" * 40
    repository = tmp_path / "models--someone--model"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "vae").symlink_to(DIFFUSERS_VAE)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    channels = json.loads((DIFFUSERS_VAE / "config.json").read_text())["latent_channels"]
    code = (
        "from training.base_source import load_base_source\n"
        "from training.errors import TrainingError\n"
        f"for source in ('hf:someone/model', 'hf:someone/model:vae'):\n"
        f"    print(load_base_source(source, 'model.vae', {channels}).vae.latent_channels)\n"
        "try:\n"
        f"    load_base_source('hf:someone/absent', 'model.vae')\n"
        "except TrainingError as error:\n"
        "    print(error)\n"
    )
    first, second, sentence = offline(code, tmp_path).splitlines()
    assert first == second == str(channels)
    assert sentence.startswith("model.vae someone/absent:vae could not be fetched")
