"""The workflows that draw the miniature's detail run with the bundled files, at their own size and steps."""

import numpy as np
import pytest
import torch

from benchmarks.scene_checker import check
from scripts.workflows.names import DETAIL_PASS, ENLARGE
from tests.comfyui.graphs import DETAIL_BUNDLED
from tests.comfyui.workflows import as_the_browser_sends_it, only, read_api
from training.mini.prompt_scenes import PlacedShape, PromptScene

NAMES = [DETAIL_PASS, ENLARGE]


def run(server, name):
    """The workflow as the browser sends it, and its outputs."""
    graph = as_the_browser_sends_it(server, name)
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    return graph, result.outputs


def test_the_detail_pass_saves_a_picture_and_shows_its_base_at_half_the_size(server):
    graph, outputs = run(server, DETAIL_PASS)
    assert server.picture(outputs, only(graph, "SaveImage")).size == (256, 256)
    assert server.picture(outputs, only(graph, "PreviewImage")).size == (128, 128)


def test_enlarging_shows_the_ordinary_way_beside_its_own(server):
    graph, outputs = run(server, ENLARGE)
    assert server.picture(outputs, only(graph, "SaveImage")).size == (2 * 256 + 8, 256)


def test_the_picture_shows_all_of_its_prompt(server):
    graph, outputs = run(server, DETAIL_PASS)
    picture = server.picture(outputs, only(graph, "SaveImage"))
    red = PlacedShape("circle", "red", "on the left", 0.27, 0.5, 0.2, 0.0)
    blue = PlacedShape("square", "blue", "on the right", 0.73, 0.5, 0.2, 0.0, "hatched")
    scene = PromptScene(0, "striped", (red, blue))
    assert check(np.asarray(picture.convert("RGB")), scene).accurate


@pytest.mark.parametrize("name", NAMES)
def test_the_base_comes_back_bit_for_bit(server, name):
    graph = as_the_browser_sends_it(server, name)
    detail = only(graph, "DAVAE_DetailSampler")
    base = graph[detail]["inputs"]["latent_image"][0]
    given, drawn = server.draw(graph, base, detail)
    assert torch.equal(drawn[:, :16], given[:, :16])
    assert drawn[:, 16:].std() > 0.1


def test_the_untouched_model_draws_the_base_and_the_adapted_one_the_detail():
    graph = read_api(DETAIL_PASS)
    base = graph[graph[only(graph, "KSampler")]["inputs"]["model"][0]]["inputs"]
    detail = graph[graph[only(graph, "DAVAE_DetailSampler")]["inputs"]["model"][0]]["inputs"]
    assert base["base_name"] == detail["base_name"]
    assert base["adapter_name"].startswith("none") and detail["adapter_name"] == DETAIL_BUNDLED
    size = graph[only(graph, "DAVAE_EmptyLatent")]["inputs"]
    assert size["width"] == size["height"] == 256
