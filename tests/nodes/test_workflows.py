"""The workflows that come with the pack: well formed, the same in both formats, and they run."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from davae_core.metrics import psnr
from tests.comfyui.workflows import (
    WORKFLOWS,
    as_the_browser_sends_it,
    only,
    read,
    without_what_is_only_shown,
)

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
TITLE = 30
"""Height of a node's title, which lies above its position."""
PUBLIC = {
    "sd3.5_medium.safetensors": "checkpoints",
    "clip_l.safetensors": "text_encoders",
    "clip_g.safetensors": "text_encoders",
    "t5xxl_fp16.safetensors": "text_encoders",
}
"""Files that can be downloaded, and the folder in models/ that they belong in."""


def test_every_workflow_has_a_thumbnail_and_an_api_form():
    assert NAMES
    for folder, ending in (("api", "json"), (".", "jpg")):
        assert sorted(path.stem for path in (WORKFLOWS / folder).glob(f"*.{ending}")) == NAMES
    for name in NAMES:
        assert Image.open(WORKFLOWS / f"{name}.jpg").format == "JPEG"


@pytest.mark.parametrize("name", NAMES)
def test_links_join_existing_slots_of_the_same_type(name):
    workflow = read(f"{name}.json")
    nodes = {found["id"]: found for found in workflow["nodes"]}
    assert workflow["version"] == 0.4
    for link, source, output, target, entry, kind in workflow["links"]:
        assert nodes[source]["outputs"][output]["type"] == kind
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][entry] == {
            "name": nodes[target]["inputs"][entry]["name"],
            "type": kind,
            "link": link,
        }


@pytest.mark.parametrize("name", NAMES)
def test_the_server_knows_every_node_and_every_choice(server, name):
    nodes = server.get_json("/object_info")
    for found in read(f"{name}.json")["nodes"]:
        assert found["type"] in nodes or found["type"] in ("Note", "MarkdownNote")
    for found in read(f"api/{name}.json").values():
        info = nodes[found["class_type"]]["input"]
        required, optional = ({*info.get(group, {})} for group in ("required", "optional"))
        assert required <= set(found["inputs"]) <= required | optional


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_are_the_same_graph(server, name):
    api = {
        node: {"class_type": found["class_type"], "inputs": found["inputs"]}
        for node, found in read(f"api/{name}.json").items()
    }
    whole = as_the_browser_sends_it(server, name)
    assert without_what_is_only_shown(whole) == api


@pytest.mark.parametrize("name", NAMES)
def test_a_call_saves_exactly_one_picture_and_every_node_has_a_title_of_its_own(name):
    """With a second branch ComfyUI calls it a success when only that one ran; clients address nodes by title."""
    api = read(f"api/{name}.json").values()
    kinds = [found["class_type"] for found in api]
    assert kinds.count("SaveImage") == 1 and "PreviewImage" not in kinds
    titles = [found["_meta"]["title"] for found in api]
    assert len(titles) == len(set(titles)) and "Save Image" in titles


@pytest.mark.parametrize("name", NAMES)
def test_comfyui_offers_the_workflow_as_a_template_with_its_thumbnail(server, name):
    assert name in server.get_json("/workflow_templates")["davae_pack"]
    assert server.get_json(f"/api/workflow_templates/davae_pack/{name}.json") == read(
        f"{name}.json"
    )
    thumbnail = server.get(f"/api/workflow_templates/davae_pack/{name}.jpg")
    assert thumbnail == (WORKFLOWS / f"{name}.jpg").read_bytes()


def boxes(workflow):
    """Nodes as [left, top, right, bottom], their titles included."""
    return [
        (x, y - TITLE, x + width, y + height)
        for (x, y), (width, height) in ((node["pos"], node["size"]) for node in workflow["nodes"])
    ]


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("name", NAMES)
def test_no_node_lies_on_another_or_sticks_out_of_its_group(name):
    workflow = read(f"{name}.json")
    found = boxes(workflow)
    assert not [(a, b) for i, a in enumerate(found) for b in found[:i] if overlap(a, b)]
    for left, top, width, height in (group["bounding"] for group in workflow["groups"]):
        group = (left, top, left + width, top + height)
        for box in found:
            within = all(a <= b for a, b in zip(group[:2], box[:2], strict=True)) and all(
                b <= a for a, b in zip(group[2:], box[2:], strict=True)
            )
            assert within or not overlap(box, group)


@pytest.mark.parametrize("name", NAMES)
def test_the_browser_offers_to_download_what_is_public_and_nothing_else(name):
    named, offered = set(), set()
    for found in read(f"{name}.json")["nodes"]:
        named |= {value for value in found["widgets_values"] if value in PUBLIC}
        for model in found["properties"].get("models", []):
            assert model["name"] in found["widgets_values"]
            assert model["directory"] == PUBLIC[model["name"]]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")
            offered.add(model["name"])
    assert offered == named


@pytest.mark.parametrize("name", NAMES)
def test_every_node_says_which_pack_it_comes_from(name):
    for found in read(f"{name}.json")["nodes"]:
        if not found["type"].endswith("Note"):
            wanted = "davae" if found["type"].startswith("DAVAE_") else "comfy-core"
            assert found["properties"]["cnr_id"] == wanted and found["properties"]["ver"]


def tensor(picture):
    """A PIL picture as [1, 3, H, W] in [-1, 1]."""
    values = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32))
    return values.permute(2, 0, 1)[None] / 127.5 - 1


def test_the_reconstruct_workflow_brings_a_photograph_back_better_than_its_draft(server):
    photograph = Image.fromarray(data.astronaut())
    graph = as_the_browser_sends_it(server, "davae_reconstruct")
    graph["1"]["inputs"]["image"] = server.upload(photograph, "astronaut.png")
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    rebuilt = server.picture(result.outputs, only(graph, "SaveImage"))
    draft = server.picture(result.outputs, only(graph, "PreviewImage"))
    assert rebuilt.format == "PNG" and rebuilt.size == (512, 512) and draft.size == (256, 256)
    enlarged = draft.resize((512, 512), Image.Resampling.BICUBIC)
    floor = float(psnr(tensor(enlarged), tensor(photograph)))
    assert floor > 20
    assert float(psnr(tensor(rebuilt), tensor(photograph))) > floor + 0.5
