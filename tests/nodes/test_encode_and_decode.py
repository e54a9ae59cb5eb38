"""Pictures of any size through DA-VAE Encode, and what DA-VAE Decode's two outputs give."""

import numpy as np
import pytest
from PIL import Image

from tests.comfyui import base_directory as files
from tests.comfyui.graphs import decode, load, node, save

WIDTH, HEIGHT = 100, 75


def encoded(server, **widgets):
    picture = Image.radial_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB")
    return {
        "vae": load(files.RANDOM),
        "picture": node("LoadImage", image=server.upload(picture, "odd.png")),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0], **widgets),
    }


@pytest.mark.parametrize(
    ("widgets", "size", "told"),
    [
        ({}, (96, 64), "100 x 75 cropped to 96 x 64"),
        ({"fit": "crop"}, (96, 64), "100 x 75 cropped to 96 x 64"),
        ({"fit": "pad"}, (112, 80), "100 x 75 padded to 112 x 80"),
        ({"fit": "resize"}, (96, 80), "100 x 75 resized to 96 x 80"),
    ],
)
def test_a_picture_of_any_size_is_fitted_and_the_node_says_how(server, widgets, size, told):
    graph = {**encoded(server, **widgets), "back": decode(), "saved": save("back")}
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    assert server.picture(result.outputs, "saved").size == size
    assert result.outputs["latent"]["text"] == [told]


def test_another_fit_is_refused_before_anything_runs(server):
    graph = {**encoded(server, fit="stretch"), "back": decode(), "saved": save("back")}
    assert "DA-VAE Encode has no fit" in server.run(graph).sentence


def decoded(server, mode, outputs=("image", "draft")):
    graph = {**encoded(server), "back": decode(mode, tile_size=128)}
    for place, name in enumerate(("image", "draft")):
        if name in outputs:
            graph[name] = node("SaveImage", images=["back", place], filename_prefix=name)
    return graph


def test_full_and_draft_gives_both_at_once(server):
    result = server.run(decoded(server, "full and draft"))
    whole, draft = (server.picture(result.outputs, name) for name in ("image", "draft"))
    assert whole.size == (96, 64) and draft.size == (48, 32)
    alone = server.run(decoded(server, "draft"))
    for name in ("image", "draft"):
        assert np.array_equal(server.picture(alone.outputs, name), draft)
    full = server.run(decoded(server, "full", ["image"]))
    assert np.array_equal(server.picture(full.outputs, "image"), whole)


@pytest.mark.parametrize("mode", ["full", "tiled"])
def test_a_draft_that_was_not_asked_for_is_one_sentence_where_it_leads_somewhere(server, mode):
    wanted = f"DA-VAE Decode makes no draft in the mode {mode}: choose full and draft, or draft."
    assert wanted in server.run(decoded(server, mode)).sentence
    assert server.run(decoded(server, mode, ["image"])).error is None
