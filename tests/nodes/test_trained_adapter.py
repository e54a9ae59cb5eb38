"""An adapter straight from the trainer draws in ComfyUI: captioned pictures, cache, two steps, models/loras."""

import shutil
from pathlib import Path

import pytest
import torch

import training
from davae_core.transformer.description import read_file_description
from tests.comfyui.graphs import (
    FILE_BUNDLED,
    NO_ADAPTER,
    decode,
    empty_latent,
    load,
    load_model,
    prompts,
    sampler,
    save,
)
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.dit.config import DitTrainingConfig
from training.dit.train import train_dit
from training.mini.pictures import write_prompt_scenes
from training.settings.yaml_config import read_config

CONFIGS = Path(training.__file__).parent / "configs"
NAME = "davae_fresh.safetensors"


@pytest.fixture(scope="module")
def adapter(server, tmp_path_factory):
    """An adapter of the bundled miniature after two steps, in the server's models/loras."""
    folder = tmp_path_factory.mktemp("fresh")
    scenes, cache, run = (folder / name for name in ("scenes", "cache", "run"))
    write_prompt_scenes(scenes, 4, 256, 0)
    settings = (f"source.folders=[{scenes}]", f"output.folder={cache}")
    make_cache(read_config(CacheConfig, CONFIGS / "mini_cache_davae.yaml", settings))
    changed = (
        f"data.caches=[{cache}]", "validation.cache=", f"output.folder={run}", "loss.ramp_steps=1",
        "train.steps=2", "train.batch_size=2", "validation.samples_every=0",
    )  # fmt: skip
    written = train_dit(read_config(DitTrainingConfig, CONFIGS / "mini_adapter.yaml", changed))
    shutil.copy(written, server.base / "models" / "loras" / NAME)
    return written


def test_it_says_what_it_was_trained_for(adapter):
    description = read_file_description(adapter)
    advice = description.advice
    assert advice.trained == (*((side, side) for side in advice.sizes), *advice.oblongs) != ()
    assert {"base", "vae"} <= set(description.parents)


def test_it_draws_on_the_base_it_was_trained_on_and_its_da_vae_decodes_that(server, adapter):
    graph = {
        **prompts(),
        "model": load_model(FILE_BUNDLED, NAME),
        "untrained": load_model(FILE_BUNDLED, NO_ADAPTER),
        "latent": empty_latent(256, 256),
        "drawn": sampler(),
        "drawn_untrained": sampler(model="untrained", shift=3.0),
        "vae": load(FILE_BUNDLED),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
    }
    drawn, untrained = server.draw(graph, "drawn", "drawn_untrained")
    assert drawn.shape == (1, 32, 16, 16) and drawn.isfinite().all()
    # Two steps move the edge layers a little: the detail is no longer the noise it was.
    assert not torch.equal(drawn[:, 16:], untrained[:, 16:])
    assert server.picture(server.run(graph).outputs, "saved").size == (256, 256)
