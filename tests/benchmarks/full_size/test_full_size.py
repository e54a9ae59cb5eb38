"""The full-size benchmark: its sizes are the real ones, and what it found is what the project claims."""

import json

import pytest
import torch
from safetensors import safe_open

from benchmarks.full_size import __main__ as full_size
from benchmarks.full_size import files as full_size_files
from benchmarks.full_size import table as full_size_table
from benchmarks.full_size.table import own_memory, ratio, resident_memory
from davae_core.files import stream_safetensors
from davae_core.transformer.adapter import read_adapter

RESULTS = json.loads(full_size.RESULTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def transformer():
    return full_size_files.transformer_without_weights()


def test_the_base_has_the_sizes_of_sd35_medium(transformer):
    shapes = full_size_files.base_shapes(transformer)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 2_469_663_936
    assert shapes["model.diffusion_model.x_embedder.proj.weight"] == (1536, 16, 2, 2)
    assert shapes["model.diffusion_model.pos_embed"] == (1, 384 * 384, 1536)
    dual = {name.split(".")[3] for name in shapes if ".attn2." in name}
    assert dual == {str(block) for block in range(13)}


def test_the_lora_trains_what_the_published_one_trains(transformer):
    layers = full_size_files.lora_layers(transformer)
    numbers = sum(256 * (layer.in_features + layer.out_features) for layer in layers.values())
    heads = 2 * (1536 * 16 * 4 + 1536) + 2 * (64 * 1536 + 64)
    assert len(layers) == 196
    assert numbers + heads == 245_369_984, "what the published stage 2 trains"


def test_an_adapter_for_the_base_is_written_and_read(transformer, tmp_path):
    shapes = {
        name: shape
        for name, shape in full_size_files.base_shapes(transformer).items()
        if "x_embedder" in name or "final_layer.linear" in name
    }
    kinds = {name: (shape, torch.bfloat16) for name, shape in shapes.items()}
    base = tmp_path / "base.safetensors"
    stream_safetensors(
        base, kinds, lambda name: full_size_files.random_tensor(name, shapes[name]), {}
    )
    few = torch.nn.ModuleDict({"attn": torch.nn.ModuleDict({"to_q": torch.nn.Linear(8, 8)})})
    adapter = full_size_files.random_adapter(few, base)
    full_size_files.write_adapter(tmp_path / "adapter.safetensors", adapter)
    found = read_adapter(tmp_path / "adapter.safetensors")
    assert found.edges["proj_out.weight"].shape == (128, 1536)
    assert found.lora["attn.to_q.lora_A.weight"].shape == (256, 8)
    with safe_open(base, framework="pt") as file:
        assert file.get_tensor("model.diffusion_model.x_embedder.proj.weight").std() > 0


@pytest.mark.parametrize("version", RESULTS)
@pytest.mark.parametrize("measurement", ["ours", "adapted"])
@pytest.mark.parametrize("memory", [own_memory, resident_memory])
def test_the_committed_runs_took_hardly_more_memory_to_load_than_the_stock_loader(
    version, measurement, memory
):
    assert ratio(memory, RESULTS[version], measurement) <= full_size_table.LIMIT


@pytest.mark.parametrize("version", RESULTS)
def test_the_committed_runs_saw_a_quarter_of_the_tokens(version):
    assert RESULTS[version]["picture_1024"]["tokens"] == [1024]
    assert RESULTS[version]["step_2048"]["tokens"] == [4096]


@pytest.mark.parametrize("version", RESULTS)
def test_the_committed_runs_stayed_finite_to_the_picture(version):
    found = RESULTS[version]["picture_1024"]
    assert found["picture"] == [1, 1024, 1024, 3]
    assert found["finite"] and found["picture_finite"] and RESULTS[version]["step_2048"]["finite"]


def test_the_committed_page_says_what_was_measured():
    page = full_size.TABLE.read_text(encoding="utf-8")
    assert page == full_size_table.as_markdown(RESULTS)
