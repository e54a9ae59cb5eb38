"""A workflow as a description, and where its nodes and wires lie on the canvas.

Columns stand side by side, from left to right in the order of the wires. A wire to the next column takes the gutter
between them; one that goes further goes round below the nodes, through points that ComfyUI calls reroutes, so that no
wire lies behind a node.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from .kinds import KINDS

TITLE = 30
"""Height of a node's title, which lies above its position."""
LEFT, TOP = 40, 80
GUTTER, GAP = 84, 36
NOTE_WIDTH = 400
LANE = 18
"""Between the wires that go round."""
BESIDE, STEP, LANES_ABREAST = 22, 12, 4
"""How far from a node, and from one another, wires turn down to their lanes."""
SCREEN = (1600, 900)
"""The window that a workflow is to be seen in whole, when it is opened."""
PANELS = (80, 115, 20, 20)
"""What ComfyUI's own panels take of it: left, top, right, bottom."""
LARGEST_SCALE = 0.85

Link = tuple[str, int]
"""A node's key and the number of its output; without a key it comes from outside of a subgraph."""
Value = str | int | float | bool


@dataclass(frozen=True)
class Placed:
    """One node: its `key` in the description, its kind, the values of its widgets in order, and its links by input."""

    key: str
    kind: str
    values: tuple[Value, ...] = ()
    links: dict[str, Link] = field(default_factory=dict)
    title: str | None = None
    size: tuple[int, int] | None = None
    colour: tuple[str, str] | None = None

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height without the title."""
        return self.size or KINDS[self.kind].size


@dataclass(frozen=True)
class Note:
    """A text below the nodes of the first column, at least `height` pixels high."""

    title: str
    text: str
    height: int = 400


@dataclass(frozen=True)
class Workflow:
    """A file in workflows/, which is called `name`; `prefix` are called its API form and the pictures that it saves.

    `app`: the inputs (node's key, widget) and the nodes whose pictures are shown where ComfyUI shows it as an app.
    `as_call`: what programs send instead, with a picture of theirs and without what is there to be looked at.
    `after_a_run`: what the browser does to seeds, randomize or fixed.
    """

    name: str
    prefix: str
    columns: tuple[tuple[str, tuple[Placed, ...]], ...]
    note: Note
    app: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None = None
    as_call: "Workflow | None" = None
    after_a_run: str = "randomize"

    @property
    def nodes(self) -> tuple[Placed, ...]:
        """All nodes in the order of their ids, which count from 1."""
        return tuple(node for _, column in self.columns for node in column)

    def id_of(self, key: str) -> int:
        """A node's id."""
        return 1 + [node.key for node in self.nodes].index(key)


@dataclass(frozen=True)
class Wire:
    """One link: node ids and slot numbers at both ends, its type, and the points it goes through."""

    number: int
    source: int
    output: int
    target: int
    entry: int
    kind: str
    points: tuple[tuple[int, int], ...]


def slot_height(slot: int) -> int:
    """How far below a node's position its slot is."""
    return 14 + 20 * slot


def view(workflow: Workflow) -> tuple[float, tuple[float, float]]:
    """The scale and the offset of the canvas at which all of it is on the screen."""
    left, top, right, below = PANELS
    # A wire that ends in the column it comes from goes round on the column's right.
    turns = [x for wire in wires(workflow) for x, _ in wire.points]
    width = max(sum(column_bounds(workflow)[-1]), *turns, 0) - LEFT
    lanes = len({(wire.source, wire.output) for wire in wires(workflow) if wire.points})
    height = bottom(workflow) + LANE * (lanes + 1) - (TOP - TITLE)
    room = (SCREEN[0] - left - right, SCREEN[1] - top - below)
    scale = min(room[0] / width, room[1] / height, LARGEST_SCALE)
    scale = int(scale * 100) / 100
    return scale, (round(left / scale - LEFT, 1), round(top / scale - (TOP - TITLE), 1))


def column_bounds(workflow: Workflow) -> list[tuple[int, int]]:
    """Left edge and width of every column."""
    bounds, left = [], LEFT
    for number, (_, column) in enumerate(workflow.columns):
        width = max([node.extent[0] for node in column] + ([NOTE_WIDTH] if number == 0 else []))
        bounds.append((left, width))
        left += width + GUTTER
    return bounds


def positions(workflow: Workflow) -> dict[str, tuple[int, int]]:
    """Where every node stands."""
    found = {}
    for (left, _), (_, column) in zip(column_bounds(workflow), workflow.columns, strict=True):
        top = TOP
        for node in column:
            found[node.key] = (left, top)
            top += node.extent[1] + TITLE + GAP
    return found


def bottom(workflow: Workflow) -> int:
    """Below all nodes and the note."""
    _, top, _, height = note_box(workflow)
    return max(_lowest_node(workflow), top + height)


def _lowest_node(workflow: Workflow) -> int:
    places = positions(workflow)
    return max(places[node.key][1] + node.extent[1] for node in workflow.nodes)


def wires(workflow: Workflow) -> list[Wire]:
    """Every link; those from one output that go round share a lane."""
    bounds, lowest, places = column_bounds(workflow), bottom(workflow), positions(workflow)
    column_of = {
        node.key: number for number, (_, column) in enumerate(workflow.columns) for node in column
    }
    lanes: dict[Link, int] = {}
    numbers, found = count(1), []
    for node, entry, (source, output) in _links(workflow):
        start, end = column_of[source], column_of[node.key]
        names = [name for name, _ in KINDS[node.kind].inputs]
        points: tuple[tuple[int, int], ...] = ()
        if end != start + 1:
            lane = lanes.setdefault((source, output), len(lanes))
            y = lowest + LANE * (lane + 1)
            out = sum(bounds[start]) + BESIDE + STEP * (lane % LANES_ABREAST)
            back = bounds[end][0] - BESIDE - STEP * (lane % LANES_ABREAST)
            leaves = places[source][1] + slot_height(output)
            enters = places[node.key][1] + slot_height(names.index(entry))
            points = ((out, leaves + BESIDE), (out, y), (back, y), (back, enters + BESIDE))
        kind = KINDS[node.kind].inputs[names.index(entry)][1]
        ids = (workflow.id_of(source), output, workflow.id_of(node.key))
        found.append(Wire(next(numbers), *ids, names.index(entry), kind, points))
    return found


def _links(workflow: Workflow) -> Iterator[tuple[Placed, str, Link]]:
    for node in workflow.nodes:
        for entry, link in node.links.items():
            if link[0]:
                yield node, entry, link


def note_box(workflow: Workflow) -> tuple[int, int, int, int]:
    """Left, top, width and height of the note, down to the lowest node."""
    first = workflow.columns[0][1]
    top = TOP + sum(node.extent[1] + TITLE + GAP for node in first)
    return LEFT, top, NOTE_WIDTH, max(workflow.note.height, _lowest_node(workflow) - top)
