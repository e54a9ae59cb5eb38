"""The workflows that draw the miniature's detail run, with a small untrained adapter, at their own size and steps."""

import pytest
import torch
from PIL import Image

from davae_core import mini
from davae_core.files import read_safetensors
from davae_core.transformer.adapter import Adapter, read_adapter, widened_edges, write_adapter
from davae_core.transformer.description import Advice
from tests.comfyui.graphs import DETAIL_BUNDLED
from tests.comfyui.workflows import every, only, read

NAMES = ["davae_mini_detail", "davae_mini_enlarge"]
UNTRAINED = "davae_mini_detail_untrained.safetensors"


@pytest.fixture(scope="module")
def adapter(server):
    """A detail adapter of the bundled miniature in the server's models/loras."""
    joint = read_adapter(mini.adapter_path())
    base, _ = read_safetensors(mini.transformer_path())
    torch.manual_seed(0)
    edges = {
        name: torch.randn_like(tensor) * 0.02
        for name, tensor in widened_edges(base, joint.layout).items()
    }
    advice = Advice(shift=3.0, guidance=1.0, steps=10, sizes=(256,))
    written = Adapter(joint.layout, {}, edges, advice, joint.parents, mode="detail")
    write_adapter(server.base / "models" / "loras" / UNTRAINED, written)
    return UNTRAINED


def graph_of(name, adapter, server):
    graph = read(f"api/{name}.json")
    for loader in every(graph, "DAVAE_LoadModel"):
        if graph[loader]["inputs"]["adapter_name"] == DETAIL_BUNDLED:
            graph[loader]["inputs"]["adapter_name"] = adapter
    for loader in every(graph, "LoadImage"):
        picture = Image.radial_gradient("L").resize((100, 80)).convert("RGB")
        graph[loader]["inputs"]["image"] = server.upload(picture, "small.png")
    return graph


@pytest.mark.parametrize("name", NAMES)
def test_it_saves_a_picture_and_shows_its_base_at_half_the_size(server, adapter, name):
    graph = graph_of(name, adapter, server)
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    assert server.picture(result.outputs, only(graph, "SaveImage")).size == (256, 256)
    assert server.picture(result.outputs, only(graph, "PreviewImage")).size == (128, 128)


@pytest.mark.parametrize("name", NAMES)
def test_the_base_comes_back_bit_for_bit(server, adapter, name):
    graph = graph_of(name, adapter, server)
    detail = only(graph, "DAVAE_DetailSampler")
    base = graph[detail]["inputs"]["latent_image"][0]
    given, drawn = server.draw(graph, base, detail)
    assert torch.equal(drawn[:, :16], given[:, :16])
    assert not torch.equal(drawn[:, 16:], given[:, 16:]) and drawn.isfinite().all()


def test_the_untouched_model_draws_the_base_and_the_adapted_one_the_detail():
    graph = read("api/davae_mini_detail.json")
    base = graph[graph[only(graph, "KSampler")]["inputs"]["model"][0]]["inputs"]
    detail = graph[graph[only(graph, "DAVAE_DetailSampler")]["inputs"]["model"][0]]["inputs"]
    assert base["base_name"] == detail["base_name"]
    assert base["adapter_name"].startswith("none") and detail["adapter_name"] == DETAIL_BUNDLED
    size = graph[only(graph, "DAVAE_EmptyLatent")]["inputs"]
    assert size["width"] == size["height"] == 256
