"""Subgraph blueprints: a whole drawing as one node, offered among ComfyUI's own (0.3.76 and newer)."""

import uuid
from dataclasses import dataclass
from typing import Any

from .graph import Link, Note, Workflow
from .kinds import KINDS
from .parts import decode, empty_latent, encode, load_model, load_vae, prompt, sampler
from .write import PACK, PACK_VERSION, browser_format

STEPS, SIDE, DENOISE = 20, 256, 0.3
INPUT, OUTPUT = -10, -20
"""ComfyUI's ids of the two ends of a subgraph."""
ROW = 20
TYPES = {
    "text": "STRING",
    "width": "INT",
    "height": "INT",
    "seed": "INT",
    "steps": "INT",
    "denoise": "FLOAT",
}
"""Types of the widgets that are shown outside; the others are choices."""


@dataclass(frozen=True)
class Shown:
    """An input of the node outside: what it is called, and the inputs inside (node's key, slot or widget) it sets."""

    name: str
    inside: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Blueprint:
    """A file in subgraphs/: the nodes inside, what is shown of them outside, and the output that comes out."""

    inside: Workflow
    shown: tuple[Shown, ...]
    output: Link
    description: str


TEXT = Shown("clip", (("positive", "clip"), ("negative", "clip")))
PROMPTS = (
    Shown("prompt", (("positive", "text"),)),
    Shown("negative prompt", (("negative", "text"),)),
)
DRAWN = (Shown("seed", (("drawn", "seed"),)), Shown("steps", (("drawn", "steps"),)))
FILES = (
    Shown("base", (("model", "base_name"),)),
    Shown("adapter", (("model", "adapter_name"),)),
    Shown("VAE", (("vae", "vae_name"),)),
)
OUTSIDE: Link = ("", 0)
"""What a link says that comes from outside."""


def text_to_image() -> Blueprint:
    """Prompt and size to a picture."""
    columns = (
        (
            "Prompt and model",
            (
                prompt("", source=OUTSIDE),
                prompt("", "negative", OUTSIDE),
                load_model(),
                empty_latent(SIDE),
            ),
        ),
        ("Draw", (sampler(("latent", 0), STEPS), load_vae())),
        ("Decode", (decode(),)),
    )
    size = (Shown("width", (("latent", "width"),)), Shown("height", (("latent", "height"),)))
    return Blueprint(
        Workflow("DA-VAE text to image", "", columns, Note("", "")),
        (TEXT, *PROMPTS, *size, *DRAWN, *FILES),
        ("decoded", 0),
        "Draws a picture with base and detail channels on a quarter of the tokens.",
    )


def image_to_image() -> Blueprint:
    """Prompt and picture to a picture."""
    columns = (
        ("VAE", (load_vae(),)),
        (
            "Encode, prompt and model",
            (
                encode(OUTSIDE),
                prompt("", source=OUTSIDE),
                prompt("", "negative", OUTSIDE),
                load_model(),
            ),
        ),
        ("Draw", (sampler(("encoded", 0), STEPS, DENOISE),)),
        ("Decode", (decode(),)),
    )
    shown = (
        Shown("image", (("encoded", "image"),)),
        TEXT,
        *PROMPTS,
        Shown("denoise", (("drawn", "denoise"),)),
        *DRAWN,
        *FILES,
    )
    return Blueprint(
        Workflow("DA-VAE image to image", "", columns, Note("", "")),
        shown,
        ("decoded", 0),
        "Draws a picture anew with base and detail channels on a quarter of the tokens.",
    )


def blueprint_format(blueprint: Blueprint) -> dict[str, Any]:
    """A workflow of one node, the subgraph, with its definition."""
    inside = browser_format(blueprint.inside)
    inside["nodes"] = [node for node in inside["nodes"] if node["type"] != "MarkdownNote"]
    nodes = {node["id"]: node for node in inside["nodes"]}
    name = blueprint.inside.name
    last_point = {one["id"]: one["parentId"] for one in inside["extra"].get("linkExtensions", [])}
    links = [
        _link(number, source, output, target, entry, kind)
        | ({"parentId": last_point[number]} if number in last_point else {})
        for number, source, output, target, entry, kind in inside["links"]
    ]
    inputs = []
    for slot, shown in enumerate(blueprint.shown):
        numbers = []
        for key, entry in shown.inside:
            number, target = len(links) + 1, nodes[blueprint.inside.id_of(key)]
            place, kind = _slot_inside(target, entry, number)
            links.append(_link(number, INPUT, slot, target["id"], place, kind))
            numbers.append(number)
        inputs.append(
            {
                "id": _id(f"{name} {shown.name}"),
                "name": shown.name,
                "type": kind,
                "linkIds": numbers,
                "pos": [-120, ROW * slot],
            }
        )
    source, output = blueprint.inside.id_of(blueprint.output[0]), blueprint.output[1]
    last = len(links) + 1
    links.append(_link(last, source, output, OUTPUT, 0, "IMAGE"))
    nodes[source]["outputs"][output]["links"].append(last)
    right = max(node["pos"][0] + node["size"][0] for node in inside["nodes"]) + 80
    end = {"id": _id(f"{name} picture"), "name": "IMAGE", "type": "IMAGE"}
    ends = [{**end, "linkIds": [last], "pos": [right, ROW]}]
    kind = _id(name)
    definition = {
        "id": kind,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": len(nodes),
            "lastLinkId": last,
            "lastRerouteId": len(inside["extra"].get("reroutes", [])),
        },
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INPUT, "bounding": [-240, -20, 140, 40 + ROW * len(inputs)]},
        "outputNode": {"id": OUTPUT, "bounding": [right, 0, 120, 60]},
        "inputs": inputs,
        "outputs": ends,
        "widgets": [],
        "nodes": inside["nodes"],
        "groups": [],
        "links": links,
        "reroutes": inside["extra"].get("reroutes", []),
        "extra": {},
        "category": "DA-VAE",
        "description": blueprint.description,
    }
    return {
        "id": _id(f"{name} file"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_outside(blueprint, kind, inputs)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {},
    }


def _link(
    number: int, source: int, output: int, target: int, entry: int, kind: str
) -> dict[str, Any]:
    return {
        "id": number,
        "origin_id": source,
        "origin_slot": output,
        "target_id": target,
        "target_slot": entry,
        "type": kind,
    }


def _slot_inside(target: dict[str, Any], entry: str, number: int) -> tuple[int, str]:
    """Which slot of a node inside an input goes to, and its type; a widget gets a slot of its own."""
    names = [found["name"] for found in target["inputs"]]
    if entry in names:
        place = names.index(entry)
        target["inputs"][place]["link"] = number
        return place, str(target["inputs"][place]["type"])
    kind = TYPES.get(entry, "COMBO")
    target["inputs"].append(
        {"name": entry, "type": kind, "widget": {"name": entry}, "link": number}
    )
    return len(names), kind


def _outside(blueprint: Blueprint, kind: str, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The node that stands for the subgraph, its widgets those inside."""
    widgets = {
        shown.name: shown.inside[0]
        for shown in blueprint.shown
        if shown.inside[0][1] in _widgets_of(blueprint.inside, shown.inside[0][0])
    }
    return {
        "id": 1,
        "type": kind,
        "pos": [100, 100],
        "size": [400, 120 + 24 * len(inputs)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": found["name"], "type": found["type"], "link": None}
            | ({"widget": {"name": found["name"]}} if found["name"] in widgets else {})
            for found in inputs
        ],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}],
        "properties": {
            "proxyWidgets": [
                [str(blueprint.inside.id_of(key)), widget] for key, widget in widgets.values()
            ],
            "cnr_id": PACK,
            "ver": PACK_VERSION,
        },
        "widgets_values": [],
        "title": blueprint.inside.name,
    }


def _widgets_of(workflow: Workflow, key: str) -> tuple[str, ...]:
    (found,) = (node for node in workflow.nodes if node.key == key)
    return KINDS[found.kind].widgets


def _id(words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://github.com/davae/davae-comfyui/{words}"))


BLUEPRINTS = (text_to_image, image_to_image)
