"""The workflow with the miniature runs as it is, at its own size and steps, without any file."""

import numpy as np
import pytest

from davae_core import mini
from davae_core.transformer.adapter import read_adapter
from tests.comfyui.workflows import as_the_browser_sends_it, only, read

NAME = "davae_mini"


def test_its_settings_are_those_the_bundled_adapter_advises():
    graph = read(f"api/{NAME}.json")
    advice = read_adapter(mini.adapter_path()).advice
    settings = graph[only(graph, "DAVAE_Sampler")]["inputs"]
    assert (settings["steps"], settings["cfg"]) == (advice.steps, advice.guidance)
    assert settings["shift"] == 0.0 and settings["denoise"] == 1.0
    size = graph[only(graph, "DAVAE_EmptyLatent")]["inputs"]
    assert (size["width"], size["height"]) == advice.trained[0]


def redness(picture):
    """Red minus blue in the upper and in the lower half, means over [0, 255]."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    middle = picture.height // 2
    return [
        float((half[..., 0] - half[..., 2]).mean()) for half in (pixels[:middle], pixels[middle:])
    ]


@pytest.fixture(scope="module")
def drawn(server):
    """Picture and draft of the workflow's prompt and of the same with its colours exchanged."""

    def draw(change):
        graph = as_the_browser_sends_it(server, NAME)
        sampler = graph[only(graph, "DAVAE_Sampler")]["inputs"]
        prompt = graph[sampler["positive"][0]]["inputs"]
        prompt["text"] = change(prompt["text"])
        result = server.run(graph)
        assert result.error is None and result.refused is None, result
        return [
            server.picture(result.outputs, only(graph, kind))
            for kind in ("SaveImage", "PreviewImage")
        ]

    def exchange(text):
        return text.replace("red", "?").replace("blue", "red").replace("?", "blue")

    return draw(str), draw(exchange)


def test_it_saves_a_picture_and_shows_the_draft_at_half_its_size(drawn):
    (picture, draft), _ = drawn
    assert picture.format == "PNG" and picture.size == (256, 256)
    assert draft.size == (128, 128)


def test_what_the_prompt_puts_above_is_drawn_above(drawn):
    for red_above, blue_above in zip(*drawn, strict=True):
        upper, lower = redness(red_above)
        assert upper > lower + 5
        upper, lower = redness(blue_above)
        assert upper < lower - 5
