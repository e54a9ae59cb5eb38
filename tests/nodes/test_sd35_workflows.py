"""The workflows for Stable Diffusion 3.5 run on a real server, with tiny files for the real ones and 2 steps for 30.

They draw at their own 1024 pixels, except the one for 2048: decoding that takes minutes on two cores, so it draws 512.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from tests.comfyui.workflows import every, only, read_api, resize, with_tiny_files

PAPER = {
    "steps": 30,
    "cfg": 2.5,
    "shift": 0.0,
    "sampler_name": "euler",
    "scheduler": "da-vae",
    "denoise": 1.0,
}
DETAIL = {"steps": 10, "strength": 1.0, "cfg": 1.0}
AT_1024, AT_2048 = "SD3.5 - draw at 1024", "SD3.5 - draw at 2048"
IMAGE_TO_IMAGE, INPAINT = "SD3.5 - image to image", "SD3.5 - inpaint"
DETAIL_PASS, ENLARGE = "SD3.5 - detail pass", "SD3.5 - enlarge a picture"
HOLE = (slice(300, 620), slice(420, 700))
"""Rows and columns of the masked part of a picture of 1024 pixels; none is a multiple of a cell's 16."""
GROWN = (slice(300 - 16, 620 + 16), slice(420 - 16, 700 + 16))


def photograph(side=1024, masked=False):
    """The astronaut; transparent, which Load Image reads as the mask, in HOLE."""
    picture = Image.fromarray(data.astronaut()).resize((side, side)).convert("RGBA")
    if masked:
        pixels = np.array(picture)
        pixels[(*HOLE, 3)] = 0
        picture = Image.fromarray(pixels)
    return picture


def put_photograph(server, graph, **how):
    name = server.upload(photograph(**how), f"workflow_{how}.png".replace(" ", ""))
    graph[only(graph, "LoadImage")]["inputs"]["image"] = name


def run(server, graph):
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    return result.outputs


def assert_no_flat_picture(picture):
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    assert (pixels.std((0, 1)) > 8).all()
    # Neither is every row the same, nor every column.
    assert pixels.mean(0).std() > 1 and pixels.mean(1).std() > 1


@pytest.mark.parametrize(("name", "side"), [(AT_1024, 1024), (AT_2048, 512)])
def test_text_to_image_saves_a_picture_of_the_size_asked_for_and_shows_its_draft(
    server, name, side
):
    graph = with_tiny_files(server, name)
    if side != 1024:
        resize(graph, side)
    outputs = run(server, graph)
    picture = server.picture(outputs, only(graph, "SaveImage"))
    draft = server.picture(outputs, only(graph, "PreviewImage"))
    assert picture.format == "PNG" and picture.size == (side, side)
    assert draft.size == (side // 2, side // 2)
    assert_no_flat_picture(picture)
    assert_no_flat_picture(draft)


@pytest.mark.parametrize("name", [AT_1024, AT_2048, IMAGE_TO_IMAGE, INPAINT])
def test_the_widgets_hold_the_paper_s_settings_and_the_adapter_s_size(name):
    graph = read_api(name)
    settings = graph[only(graph, "DAVAE_Sampler")]["inputs"]
    wanted = PAPER | ({"denoise": 0.3} if name == IMAGE_TO_IMAGE else {})
    assert {key: settings[key] for key in wanted} == wanted
    side = 2048 if "2048" in name else 1024
    sized = [*every(graph, "DAVAE_EmptyLatent"), *every(graph, "ImageScale")]
    assert sized or name == INPAINT
    for found in sized:
        inputs = graph[found]["inputs"]
        assert (inputs["width"], inputs["height"]) == (side, side)
    assert graph[only(graph, "DAVAE_LoadModel")]["inputs"]["adapter_name"].endswith(
        f"_{side}.safetensors"
    )


@pytest.mark.parametrize("name", [DETAIL_PASS, ENLARGE])
def test_the_detail_is_drawn_in_ten_steps_without_guidance_at_the_adapter_s_size(name):
    graph = read_api(name)
    settings = graph[only(graph, "DAVAE_DetailSampler")]["inputs"]
    assert {key: settings[key] for key in DETAIL} == DETAIL and "negative" not in settings
    adapter = graph[only(graph, "DAVAE_LoadModel")]["inputs"]["adapter_name"]
    assert adapter.endswith("_1024_detail.safetensors")
    for found in [*every(graph, "EmptySD3LatentImage"), *every(graph, "ImageScale")]:
        side = 512 if name == DETAIL_PASS else 1024
        inputs = graph[found]["inputs"]
        assert (inputs["width"], inputs["height"]) == (side, side)


def assert_drawn_on(server, graph, base):
    """The workflow saves 1024 pixels and shows 512 of the base, which is that node's to the last bit."""
    outputs = run(server, graph)
    picture = server.picture(outputs, only(graph, "SaveImage"))
    assert picture.size == (1024, 1024)
    assert server.picture(outputs, only(graph, "PreviewImage")).size == (512, 512)
    assert_no_flat_picture(picture)
    given, drawn = server.draw(graph, base, only(graph, "DAVAE_DetailSampler"))
    assert drawn.shape == (1, 32, 64, 64) and torch.equal(drawn[:, :16], given[:, :16])


def test_the_detail_workflow_draws_on_what_the_ordinary_model_drew(server):
    graph = with_tiny_files(server, DETAIL_PASS)
    assert_drawn_on(server, graph, only(graph, "KSampler"))


def test_the_enlarging_workflow_draws_on_the_picture(server):
    graph = with_tiny_files(server, ENLARGE)
    put_photograph(server, graph, side=512)
    assert_drawn_on(server, graph, only(graph, "DAVAE_Encode"))


def test_the_2048_workflow_is_refused_with_the_adapter_for_1024(server):
    graph = with_tiny_files(server, AT_2048)
    small = with_tiny_files(server, AT_1024)
    loader = only(graph, "DAVAE_LoadModel")
    graph[loader] = small[only(small, "DAVAE_LoadModel")]
    assert "was trained at 1024x1024" in server.run(graph).sentence


def test_image_to_image_saves_the_picture_drawn_anew(server):
    graph = with_tiny_files(server, IMAGE_TO_IMAGE)
    put_photograph(server, graph, side=512)
    outputs = run(server, graph)
    picture = server.picture(outputs, only(graph, "SaveImage"))
    assert picture.size == (1024, 1024)
    assert_no_flat_picture(picture)


def likeness(first, second):
    """Correlation of two latents."""
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def test_image_to_image_keeps_more_of_the_picture_than_noise_does(server):
    graph = with_tiny_files(server, IMAGE_TO_IMAGE)
    resize(graph, 256)
    put_photograph(server, graph, side=512)
    encoder, sampler = only(graph, "DAVAE_Encode"), only(graph, "DAVAE_Sampler")
    encoded, drawn = server.draw(graph, encoder, sampler)
    graph[sampler]["inputs"]["denoise"] = 1.0
    (from_noise,) = server.draw(graph, sampler)
    assert likeness(drawn, encoded) > likeness(from_noise, encoded) + 0.05


@pytest.fixture(scope="module")
def inpainted(server):
    """The workflow's latents with HOLE drawn anew: encoded and drawn."""
    graph = with_tiny_files(server, INPAINT)
    put_photograph(server, graph, masked=True)
    latents = server.draw(graph, only(graph, "DAVAE_Encode"), only(graph, "DAVAE_Sampler"))
    assert server.picture(run(server, graph), only(graph, "SaveImage")).size == (1024, 1024)
    return latents


def cells(part):
    """The latent cells that rows and columns of pixels touch."""
    return (..., *(slice(side.start // 16, -(-side.stop // 16)) for side in part))


def test_inpainting_leaves_the_latent_outside_the_grown_mask_as_encoded(inpainted):
    encoded, drawn = inpainted
    difference = (encoded - drawn).abs()
    assert difference[cells(HOLE)].mean() > 0.1
    difference[cells(GROWN)] = 0
    assert difference.max() < 1e-4


def test_inpainting_draws_every_cell_that_the_mask_touches(inpainted):
    encoded, drawn = inpainted
    assert ((encoded - drawn).abs().amax(1)[cells(HOLE)] > 1e-3).all()
