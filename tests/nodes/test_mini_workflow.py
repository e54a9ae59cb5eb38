"""The workflows with the miniature run as they are, at their own sizes and steps, without any file."""

import numpy as np
import pytest

from davae_core import mini
from davae_core.transformer.adapter import read_adapter
from scripts.workflows.names import APP, BATCH, COMPARE, DRAW, IMAGE_TO_IMAGE, INPAINT
from tests.comfyui.workflows import as_the_browser_sends_it, only, read, read_api


def test_its_settings_are_those_the_bundled_adapter_advises():
    graph = read_api(DRAW)
    advice = read_adapter(mini.adapter_path()).advice
    settings = graph[only(graph, "DAVAE_Sampler")]["inputs"]
    assert (settings["steps"], settings["cfg"]) == (advice.steps, advice.guidance)
    assert settings["shift"] == 0.0 and settings["denoise"] == 1.0
    size = graph[only(graph, "DAVAE_EmptyLatent")]["inputs"]
    assert (size["width"], size["height"]) == advice.trained[0]


def redness(picture):
    """Red minus blue in the left and in the right half, means over [0, 255]."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    middle = picture.width // 2
    halves = pixels[:, :middle], pixels[:, middle:]
    return [float((half[..., 0] - half[..., 2]).mean()) for half in halves]


@pytest.fixture(scope="module")
def drawn(server):
    """Picture and draft of the workflow's prompt and of the same with its colours exchanged."""

    def draw(change):
        graph = as_the_browser_sends_it(server, DRAW)
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


def test_what_the_prompt_puts_on_the_left_is_drawn_on_the_left(drawn):
    for red_first, blue_first in zip(*drawn, strict=True):
        left, right = redness(red_first)
        assert left > right + 5
        left, right = redness(blue_first)
        assert left < right - 5


def run(server, name, **changed):
    """What a workflow saves; inputs of its one sampler may be changed."""
    graph = as_the_browser_sends_it(server, name)
    if changed:
        graph[only(graph, "DAVAE_Sampler")]["inputs"].update(changed)
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    saved = result.outputs[only(graph, "SaveImage")]["images"]
    return [server.picture(result.outputs, only(graph, "SaveImage"), i) for i in range(len(saved))]


def pixels(picture):
    return np.asarray(picture.convert("RGB"), np.float32)


def test_a_batch_is_four_different_pictures(server):
    drawn = run(server, BATCH)
    assert [found.size for found in drawn] == [(256, 256)] * 4
    assert all(np.abs(pixels(drawn[0]) - pixels(other)).mean() > 1 for other in drawn[1:])


def test_the_comparison_shows_a_soft_picture_one_of_more_tokens_and_a_sharp_one(server):
    graph = as_the_browser_sends_it(server, COMPARE)
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    all_three = server.picture(result.outputs, only(graph, "SaveImage"))
    assert all_three.size == (3 * 256 + 2 * 8, 256)
    soft, sharp = (pixels(all_three.crop((left, 0, left + 256, 256))) for left in (0, 528))
    assert beyond_half_the_size(sharp) > 1.1 * beyond_half_the_size(soft)
    told = [found["text"][0] for found in result.outputs.values() if "s each" in str(found)]
    tokens = sorted(text.partition(",")[0] for text in told)
    assert tokens == ["16 x 16 tokens", "8 x 8 tokens", "8 x 8 tokens"]


def test_the_comparison_s_seeds_stay_alike_from_run_to_run():
    samplers = [node for node in read(f"{COMPARE}.json")["nodes"] if "Sampler" in node["type"]]
    assert [node["widgets_values"][:2] for node in samplers] == [[0, "fixed"]] * 3


def beyond_half_the_size(picture):
    """How much of a picture [H, W, 3] is lost when it is halved, mean absolute levels."""
    small = picture.reshape(128, 2, 128, 2, 3).mean((1, 3))
    return np.abs(picture - small.repeat(2, 0).repeat(2, 1)).mean()


def test_inpainting_draws_the_right_half_anew_and_keeps_the_left_as_the_codec_has_it(server):
    (drawn,) = run(server, INPAINT)
    (kept,) = run(server, INPAINT, denoise=0.0)
    changed = np.abs(pixels(drawn) - pixels(kept)).mean(-1)
    # A decoder looks some pixels beyond a cell.
    assert changed[:, :96].mean() < 2 and changed[:, 144:].mean() > 10


def test_image_to_image_keeps_the_picture_recognisable_and_follows_the_prompt(server):
    (kept,) = run(server, IMAGE_TO_IMAGE, denoise=0.0)

    def likeness(**changed):
        """The mean over two seeds."""
        found = [run(server, IMAGE_TO_IMAGE, seed=seed, **changed)[0] for seed in (1, 2)]
        rows = [np.corrcoef(pixels(one).ravel(), pixels(kept).ravel())[0, 1] for one in found]
        return sum(rows) / len(rows)

    assert 0.99 > likeness() > likeness(denoise=1.0) + 0.05


def test_the_app_is_the_first_workflow_with_its_inputs_and_its_picture_named():
    first, app = read(f"{DRAW}.json"), read(f"{APP}.json")
    assert [node["type"] for node in first["nodes"]] == [node["type"] for node in app["nodes"]]
    kinds = {node["id"]: node["type"] for node in app["nodes"]}
    shown = app["extra"]["linearData"]
    assert [(kinds[node], widget) for node, widget in shown["inputs"]] == [
        ("CLIPTextEncode", "text"),
        ("DAVAE_Sampler", "seed"),
        ("DAVAE_Sampler", "steps"),
    ]
    assert [kinds[node] for node in shown["outputs"]] == ["SaveImage"]
    assert app["extra"]["linearMode"] and "linearMode" not in first["extra"]


def test_every_step_shows_a_preview_and_the_last_looks_like_the_draft(server):
    graph = as_the_browser_sends_it(server, DRAW)
    # What another test has drawn would come out of ComfyUI's cache, without previews.
    graph[only(graph, "DAVAE_Sampler")]["inputs"]["seed"] = 77
    result = server.run(graph)
    assert len(result.previews) == graph[only(graph, "DAVAE_Sampler")]["inputs"]["steps"]
    draft = pixels(server.picture(result.outputs, only(graph, "PreviewImage")))
    first, last = (pixels(result.previews[at].resize(draft.shape[1::-1])).ravel() for at in (0, -1))
    likeness = np.corrcoef(last, draft.ravel())[0, 1]
    assert likeness > 0.3 and likeness > np.corrcoef(first, draft.ravel())[0, 1]
