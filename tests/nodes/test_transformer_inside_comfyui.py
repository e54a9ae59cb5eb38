"""ComfyUI's own transformer with our files (tests/comfyui/inside_transformer.py measures, this file judges)."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.cli.commands import main
from davae_core.presets import SD3
from davae_core.transformer.adapter import write_adapter
from davae_core.transformer.description import read_file_description
from davae_core.transformer.pretrained import load_transformer
from tests.comfyui.process import answers_of, answers_of_process
from tests.comfyui.server import ROOT
from tests.training.random_adapters import random_adapter

GOLDEN = ROOT / "tests" / "data" / "golden" / "transformer"


def davae(*command):
    assert main([str(part) for part in command]) == 0


def write_wide(folder, base):
    """An adapter of the wide targets, and what the trainer's own model makes of the golden conditions with it."""
    model, adapter = random_adapter(load_transformer(base), SD3.layout, "wide")
    write_adapter(folder / "wide.safetensors", adapter)
    golden = load_file(GOLDEN / "expected.safetensors")
    latents = torch.cat(golden["latent_detail_first"].chunk(2, dim=1)[::-1], dim=1)
    with torch.no_grad():
        velocity = model(
            hidden_states=latents,
            encoder_hidden_states=golden["context"],
            pooled_projections=golden["pooled"],
            timestep=golden["timestep"],
            return_dict=False,
        )[0]
    save_file({"latents": latents, "velocity": velocity}, folder / "wide_expected.safetensors")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The golden base in Stability's names, and the adapter and merged models made of it on the command line."""
    folder = tmp_path_factory.mktemp("transformer")
    base, adapter = folder / "base.safetensors", folder / "adapter.safetensors"
    save_file(load_transformer(GOLDEN / "base.safetensors"), base)
    full = {f"model.diffusion_model.{name}": part for name, part in load_file(base).items()}
    save_file(full, folder / "full.safetensors")
    shutil.copy(GOLDEN / "expected.safetensors", folder)
    lora = ["--weights", "live", "--lora", GOLDEN / "pytorch_lora_weights.safetensors"]
    step = GOLDEN / "step_4321.pt"
    davae("convert", step, *lora, "--base", GOLDEN / "base.safetensors", "-o", adapter)
    davae("merge", GOLDEN / "base.safetensors", adapter, "-o", folder / "merged.safetensors")
    full_merged = folder / "merged_full.safetensors"
    davae("merge", folder / "full.safetensors", adapter, "-o", full_merged)
    for dtype in ("fp8_e4m3fn", "bfloat16"):
        output = folder / f"merged_{dtype}.safetensors"
        davae("merge", base, adapter, "-o", output, "--dtype", dtype)
    write_wide(folder, base)
    davae("merge", base, folder / "wide.safetensors", "-o", folder / "wide_merged.safetensors")
    return folder


@pytest.fixture(scope="module")
def measured(files):
    """Answers of every experiment, from one process."""
    return answers_of_process("inside_transformer.py", files, answers=files / "answers.json")


@answers_of("warm_start")
def test_the_widened_network_gives_the_old_base_and_no_detail(found):
    assert {"4x6", "5x7", "1x1"} <= found.keys()
    for name, grid in found.items():
        assert grid["shape"] == [2, 32, *map(int, name.split("x"))]
        assert grid["size"] > 0.1
        # float32 rounding: more channels are another kernel's sums on some processors.
        assert grid["base"] <= 1e-6 * max(1.0, grid["size"]), grid
        assert grid["detail"] == 0


@answers_of("velocities")
@pytest.mark.parametrize("way", ["untouched", "zero", "adapter", "merged", "merged_of_full"])
def test_velocities_are_the_published_code_s(found, way):
    assert found["change"] > 0.01
    assert found[way] < 1e-5


@answers_of("wide_targets")
@pytest.mark.parametrize("way", ["adapter", "merged"])
def test_an_adapter_of_every_large_layer_gives_the_trainers_velocity(found, way):
    assert found[way] < 1e-4 * found["size"]
    assert min(found["without"].values()) > 0.01 * found["size"]


@answers_of("small_types")
def test_merged_files_in_smaller_types_load_and_stay_near(found):
    assert found["dtype"] == "torch.float8_e4m3fn"
    for kind, share in (("bfloat16", 0.01), ("float8", 0.02), ("kept", 0.1)):
        assert 0 < found[kind] < share * found["size"]


@answers_of("description")
def test_the_stock_loader_s_model_knows_what_the_file_says(found, files):
    wanted = read_file_description(files / "merged.safetensors").as_json()
    assert found == json.loads(json.dumps(wanted))
