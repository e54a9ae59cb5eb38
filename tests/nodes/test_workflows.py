"""The workflows that come with the pack: well formed, the same in both formats, and they run."""

import math
from itertools import pairwise
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core import mini
from davae_core.metrics import psnr
from scripts.workflows.__main__ import main as write_workflows
from scripts.workflows.names import ENLARGE, PHOTOGRAPH
from tests.comfyui.server import ROOT
from tests.comfyui.workflows import (
    API_NAMES,
    WORKFLOWS,
    as_the_browser_sends_it,
    only,
    read,
    read_api,
    without_what_is_only_shown,
)

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
CALLS = sorted(API_NAMES)
TITLE = 30
"""Height of a node's title, which lies above its position."""


def test_every_workflow_has_a_thumbnail_and_an_api_form():
    assert NAMES
    assert sorted(path.stem for path in WORKFLOWS.glob("*.jpg")) == NAMES
    called = sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))
    assert called == sorted(API_NAMES.values())
    for name in NAMES:
        assert Image.open(WORKFLOWS / f"{name}.jpg").format == "JPEG"


def test_the_files_are_what_the_script_writes(tmp_path):
    write_workflows(tmp_path)
    for path in sorted(tmp_path.rglob("*.json")):
        kept = ROOT / path.relative_to(tmp_path)
        assert kept.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), kept.name


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


@pytest.mark.parametrize("name", CALLS)
def test_the_server_knows_every_node_and_every_choice(server, name):
    nodes = server.get_json("/object_info")
    for found in read(f"{name}.json")["nodes"]:
        assert found["type"] in nodes or found["type"] in ("Note", "MarkdownNote")
    for found in read_api(name).values():
        info = nodes[found["class_type"]]["input"]
        required, optional = ({*info.get(group, {})} for group in ("required", "optional"))
        assert required <= set(found["inputs"]) <= required | optional


@pytest.mark.parametrize("name", [name for name in CALLS if name not in (PHOTOGRAPH, ENLARGE)])
def test_both_formats_are_the_same_graph(server, name):
    api = {
        node: {"class_type": found["class_type"], "inputs": found["inputs"]}
        for node, found in read_api(name).items()
    }
    whole = as_the_browser_sends_it(server, name)
    for node, found in whole.items():
        if found["class_type"] == "DAVAE_ExamplePicture":
            # A program has a picture of its own, and no look at a draft.
            whole[node] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
        if found["inputs"].get("mode") == "full and draft":
            found["inputs"]["mode"] = "full"
    assert without_what_is_only_shown(whole) == api


@pytest.mark.parametrize("name", CALLS)
def test_a_call_saves_exactly_one_picture_and_every_node_has_a_title_of_its_own(name):
    """With a second branch ComfyUI calls it a success when only that one ran; clients address nodes by title."""
    api = read_api(name).values()
    kinds = [found["class_type"] for found in api]
    assert kinds.count("SaveImage") == 1 and "PreviewImage" not in kinds
    titles = [found["_meta"]["title"] for found in api]
    assert len(titles) == len(set(titles)) and "Save Image" in titles


@pytest.mark.parametrize("name", NAMES)
def test_comfyui_offers_the_workflow_as_a_template_with_its_thumbnail(server, name):
    assert name in server.get_json("/workflow_templates")["davae_pack"]
    address = f"/api/workflow_templates/davae_pack/{quote(name)}"
    assert server.get_json(f"{address}.json") == read(f"{name}.json")
    thumbnail = server.get(f"{address}.jpg")
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
def test_no_node_lies_on_another(name):
    found = boxes(read(f"{name}.json"))
    assert not [(a, b) for i, a in enumerate(found) for b in found[:i] if overlap(a, b)]


@pytest.mark.parametrize("name", NAMES)
def test_words_are_shown_at_the_scale_that_it_opens_with(name):
    """ComfyUI leaves letters out that are smaller than 8 pixels; a node's have 14."""
    assert 14 * read(f"{name}.json")["extra"]["ds"]["scale"] >= 8


@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_is_on_a_screen_of_1600_x_900_when_it_is_opened(name):
    workflow = read(f"{name}.json")
    scale, (right, down) = (workflow["extra"]["ds"][key] for key in ("scale", "offset"))
    assert scale >= 0.5
    points = [point["pos"] for point in workflow["extra"].get("reroutes", [])]
    corners = [*boxes(workflow), *((x, y, x, y) for x, y in points)]
    for left, top, far, low in corners:
        assert (left + right) * scale >= 60 and (far + right) * scale <= 1600
        assert (top + down) * scale >= 100 and (low + down) * scale <= 900


def path_of(link, nodes, extra):
    """Points of a wire: its slots and what it goes through, in between as ComfyUI's curves run."""
    number, source, output, target, entry, _ = link
    ends = [
        (
            nodes[source]["pos"][0] + nodes[source]["size"][0],
            nodes[source]["pos"][1] + 14 + 20 * output,
        ),
        (nodes[target]["pos"][0], nodes[target]["pos"][1] + 14 + 20 * entry),
    ]
    reroutes = {point["id"]: point for point in extra.get("reroutes", [])}
    through, at = (
        [],
        next(
            (one["parentId"] for one in extra.get("linkExtensions", []) if one["id"] == number),
            None,
        ),
    )
    while at is not None:
        through.insert(0, tuple(reroutes[at]["pos"]))
        at = reroutes[at].get("parentId")
    corners = [ends[0], *through, ends[1]]
    for (x0, y0), (x1, y1) in pairwise(corners):
        bend = 0 if through else 0.25 * math.hypot(x1 - x0, y1 - y0)
        for t in (step / 20 for step in range(1, 20)):
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            xs, ys = (x0, x0 + bend, x1 - bend, x1), (y0, y0, y1, y1)
            yield tuple(sum(w * v for w, v in zip(weights, vs, strict=True)) for vs in (xs, ys))


@pytest.mark.parametrize("name", NAMES)
def test_no_wire_lies_behind_a_node(name):
    workflow = read(f"{name}.json")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    hidden = [
        (link, (round(x), round(y)))
        for link in workflow["links"]
        for x, y in path_of(link, nodes, workflow["extra"])
        for left, top, far, low in boxes(workflow)
        if left < x < far and top < y < low
    ]
    assert not hidden


@pytest.mark.parametrize("name", NAMES)
def test_what_needs_files_that_nobody_has_says_so_first_and_offers_no_download(name):
    """Of the six files of a full-size workflow two are not public, so several gigabytes would be for nothing."""
    workflow = read(f"{name}.json")
    assert not [node for node in workflow["nodes"] if "models" in node["properties"]]
    (note,) = (
        node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"
    )
    needs_files = name.startswith("SD3.5")
    assert note.startswith("# You cannot run this yet") == needs_files
    named = [
        value
        for node in workflow["nodes"]
        for value in node["widgets_values"]
        if str(value).endswith(".safetensors")
    ]
    assert bool(named) == needs_files


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


def test_the_photograph_s_workflow_shows_it_better_than_its_draft(server):
    graph = as_the_browser_sends_it(server, PHOTOGRAPH)
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    both = server.picture(result.outputs, only(graph, "SaveImage"))
    width, height = 448, 288
    assert both.format == "PNG" and both.size == (2 * width + 8, height)
    draft, rebuilt = (tensor(both.crop((left, 0, left + width, height))) for left in (0, width + 8))
    cat = tensor(Image.open(mini.photograph_path()))[..., 6:294, 1:449]
    floor = float(psnr(draft, cat))
    assert floor > 25 and float(psnr(rebuilt, cat)) > floor + 0.5
    soft, sharp, own = (found.diff(dim=-1).square().mean() for found in (draft, rebuilt, cat))
    assert soft < sharp < 1.3 * own
