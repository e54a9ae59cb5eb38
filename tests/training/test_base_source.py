import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.base_source import load_base_source
from training.errors import TrainingError

ROOT = Path(__file__).parents[2]
DIFFUSERS_VAE = ROOT / "tests" / "data" / "golden" / "base_vae"


def test_a_file_of_ours_brings_its_shift_and_scale(base_file: Path) -> None:
    base = load_base_source(str(base_file), channels=4)
    assert (base.shift, base.scale) == (0.25, 2.0)


def test_a_diffusers_folder_is_read(tmp_path: Path) -> None:
    settings = json.loads((DIFFUSERS_VAE / "config.json").read_text())
    base = load_base_source(str(DIFFUSERS_VAE), channels=settings["latent_channels"])
    assert base.scale == pytest.approx(settings["scaling_factor"])


@pytest.mark.parametrize(
    "source", ["nowhere.safetensors", "folder/vae.safetensors", "/no/such", "x"]
)
def test_a_path_that_does_not_exist_is_named(source: str) -> None:
    with pytest.raises(TrainingError, match="which does not exist: give a VAE file"):
        load_base_source(source, channels=16)


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
        f"for source in ('someone/model', 'someone/model:vae'):\n"
        f"    print(load_base_source(source, {channels}).vae.latent_channels)\n"
        "try:\n"
        f"    load_base_source('someone/absent', {channels})\n"
        "except TrainingError as error:\n"
        "    print(error)\n"
    )
    first, second, sentence = offline(code, tmp_path).splitlines()
    assert first == second == str(channels)
    assert sentence.startswith("model.base_vae someone/absent could not be fetched")
