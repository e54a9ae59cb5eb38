"""A LoRA of the miniature on the untouched model, with the detail drawn on that, and what is no place for it."""

import numpy as np
import pytest

from scripts.workflows.names import LORA
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import load_model, node
from tests.comfyui.workflows import as_the_browser_sends_it, only


def drawn(server, graph):
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    picture = server.picture(result.outputs, only(graph, "SaveImage"))
    return np.asarray(picture.convert("RGB"))


def workflow(server, strength=1.0):
    graph = as_the_browser_sends_it(server, LORA)
    graph[only(graph, "DAVAE_ExampleLoRA")]["inputs"]["strength"] = strength
    return graph


def test_the_untouched_model_draws_in_the_lora_s_style_and_the_detail_follows(server):
    """The prompt's background is striped in two greys; line drawings are on white paper."""
    styled, plain = (drawn(server, workflow(server, strength)) for strength in (1.0, 0.0))
    white = [(found.min(axis=-1) > 190).mean() for found in (styled, plain)]
    assert white[0] > 0.7 and white[0] > white[1] + 0.3
    # Lines in the prompt's colours, red left and blue right, around paper.
    left, right = np.split(styled.astype(int), 2, axis=1)
    assert (left[..., 0] - left[..., 1:].max(axis=-1) > 60).mean() > 0.01
    assert (right[..., 2] - right[..., :2].max(axis=-1) > 60).mean() > 0.01
    for half in (left, right):
        assert half[120:136, 56:72].min() > 170


def test_at_strength_0_nothing_changes(server):
    without = workflow(server)
    style = without.pop(only(without, "DAVAE_ExampleLoRA"))
    without[only(without, "KSampler")]["inputs"]["model"] = style["inputs"]["model"]
    assert np.array_equal(drawn(server, without), drawn(server, workflow(server, 0.0)))


def test_another_model_is_refused_with_what_to_use(server):
    graph = {
        "model": load_model(files.BASE, files.ADAPTER),
        "styled": node("DAVAE_ExampleLoRA", model=["model", 0], lora="lines", strength=1.0),
        "saved": node("ModelSave", model=["styled", 0], filename_prefix="never"),
    }
    said = server.run(graph).sentence
    assert said.startswith("DA-VAE Example LoRA has LoRAs of the bundled miniature alone, but")
    assert said.endswith("use Load LoRA with one that was trained for it.")


def test_a_stock_model_is_refused_with_what_to_connect(server):
    graph = {
        "model": node("UNETLoader", unet_name=files.BASE, weight_dtype="default"),
        "styled": node("DAVAE_ExampleLoRA", model=["model", 0], lora="lines", strength=1.0),
        "saved": node("ModelSave", model=["styled", 0], filename_prefix="never"),
    }
    said = server.run(graph).sentence
    assert said.endswith("connect Load DA-VAE SD3.5 Model with the miniature.")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"strength": 9.0}, "use a number between -4 and 4"),
        ({"strength": float("nan")}, "use a number between -4 and 4"),
        ({"lora": "mine.safetensors"}, "has no lora"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(server, changed, words):
    graph = workflow(server)
    graph[only(graph, "DAVAE_ExampleLoRA")]["inputs"].update(changed)
    assert words in str(server.run(graph).refused)
