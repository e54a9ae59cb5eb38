"""A workflow in ComfyUI's two formats: what the browser opens, and what programs send to the server."""

import hashlib
import uuid
from typing import Any

from .graph import Placed, Wire, Workflow, note_box, positions, view, wires
from .kinds import KINDS

OLDEST = "0.3.64"
"""The oldest ComfyUI that has every core node here."""
PACK, PACK_VERSION = "davae", "0.1.0"


def browser_format(workflow: Workflow) -> dict[str, Any]:
    """Version 0.4 of the browser's format."""
    found = wires(workflow)
    nodes = [_node(workflow, node, found) for node in workflow.nodes]
    nodes.append(_note(workflow, len(nodes) + 1))
    points, extensions = _reroutes(found)
    scale, offset = view(workflow)
    extra: dict[str, Any] = {"ds": {"scale": scale, "offset": list(offset)}}
    if points:
        extra |= {"reroutes": points, "linkExtensions": extensions}
    if workflow.app is not None:
        inputs, outputs = workflow.app
        extra["linearMode"] = True
        extra["linearData"] = {
            "inputs": [[workflow.id_of(key), widget] for key, widget in inputs],
            "outputs": [workflow.id_of(key) for key in outputs],
        }
    return {
        "id": str(uuid.UUID(hashlib.sha256(workflow.name.encode()).hexdigest()[:32])),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(found),
        "nodes": nodes,
        "links": [
            [wire.number, wire.source, wire.output, wire.target, wire.entry, wire.kind]
            for wire in found
        ],
        "groups": [],
        "config": {},
        "extra": extra,
        "version": 0.4,
    }


def api_format(workflow: Workflow) -> dict[str, Any]:
    """What POST /prompt takes, without what is only shown in the browser."""
    if workflow.as_call is not None:
        return api_format(workflow.as_call)
    found = {}
    for node in workflow.nodes:
        if node.kind == "PreviewImage":
            continue
        links = {
            entry: [str(workflow.id_of(source)), output]
            for entry, (source, output) in node.links.items()
        }
        found[str(workflow.id_of(node.key))] = {
            "inputs": {**_sent(node), **links},
            "class_type": node.kind,
            "_meta": {"title": node.title or KINDS[node.kind].title},
        }
    return found


def _sent(node: Placed) -> dict[str, Any]:
    kind = KINDS[node.kind]
    values = dict(zip(kind.widgets, node.values, strict=True))
    if values.get("mode") == "full and draft":
        # The draft is only shown in the browser.
        values["mode"] = "full"
    return {name: value for name, value in values.items() if name not in kind.only_shown}


def _node(workflow: Workflow, node: Placed, found: list[Wire]) -> dict[str, Any]:
    kind, number = KINDS[node.kind], workflow.id_of(node.key)
    ours = node.kind.startswith("DAVAE_")
    incoming = {wire.entry: wire.number for wire in found if wire.target == number}
    values: list[Any] = []
    for name, value in zip(kind.widgets, node.values, strict=True):
        values += [value, workflow.after_a_run] if name in kind.counted else [value]
    return {
        "id": number,
        "type": node.kind,
        "pos": list(positions(workflow)[node.key]),
        "size": list(node.extent),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [
            {"name": name, "type": type_, "link": incoming.get(slot)}
            for slot, (name, type_) in enumerate(kind.inputs)
        ],
        "outputs": [
            {
                "name": name,
                "type": type_,
                "links": [w.number for w in found if (w.source, w.output) == (number, slot)],
            }
            for slot, (name, type_) in enumerate(kind.outputs)
        ],
        "properties": {
            "cnr_id": PACK if ours else "comfy-core",
            "ver": PACK_VERSION if ours else OLDEST,
            "Node name for S&R": node.kind,
        },
        "widgets_values": values,
        **({} if node.title is None else {"title": node.title}),
        **({} if node.colour is None else {"color": node.colour[0], "bgcolor": node.colour[1]}),
    }


def _note(workflow: Workflow, number: int) -> dict[str, Any]:
    left, top, width, height = note_box(workflow)
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [left, top],
        "size": [width, height],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": workflow.note.title,
        "properties": {},
        "widgets_values": [workflow.note.text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _reroutes(found: list[Wire]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The points that wires go through, each once however many do, and which is the last of each wire."""
    numbers: dict[tuple[int, int, tuple[int, int]], int] = {}
    points: dict[int, dict[str, Any]] = {}
    last = []
    for wire in found:
        parent = None
        for point in wire.points:
            number = numbers.setdefault((wire.source, wire.output, point), len(numbers) + 1)
            entry = points.setdefault(
                number,
                {"id": number, "pos": list(point), "linkIds": []}
                | ({} if parent is None else {"parentId": parent}),
            )
            entry["linkIds"].append(wire.number)
            parent = number
        if parent is not None:
            last.append({"id": wire.number, "parentId": parent})
    return list(points.values()), last
