"""Open every workflow in a real browser, check it there, and take pictures of the graphs.

    apt-get install chromium; pip install playwright pillow
    python main.py --cpu --disable-all-custom-nodes --whitelist-custom-nodes davae-comfyui    (ComfyUI, with this pack)
    python scripts/workflow_pictures.py http://127.0.0.1:8188 [--into FOLDER] [--run davae_mini]

For every file in workflows/ it says whether the browser knows all its nodes, whether what the browser would send to run
it is workflows/api/'s graph, and whether nodes overlap as this version draws them; 1 is the exit status when one
does not hold. With --into it leaves NAME.png there, drawn at the size of the graph, without ComfyUI's own panels;
workflows named after --run are run first, so that their pictures are in it. The others need no model files. It is not
part of `make test`, because a browser is no Python package.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

WORKFLOWS = Path(__file__).parent.parent / "workflows"
SCALE, MARGIN = 0.8, 40
"""Picture pixels per unit of the canvas, and units left free around the graph."""
PANELS = 260
"""Pixels that ComfyUI's own panels take at most from an edge of the window."""

SETTINGS = {
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.NodeBadge.NodeIdBadgeMode": "None",
    "Comfy.NodeBadge.NodeLifeCycleBadgeMode": "None",
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.TutorialCompleted": True,
    "Comfy.Validation.Workflows": False,
    "Comfy.VueNodes.Enabled": False,
}
LOAD = """async (workflow) => {
    await app.loadGraphData(workflow, true, false, null,
        {showMissingNodesDialog: false, showMissingModelsDialog: false});
    const nodes = app.graph.nodes;
    return {
        unknown: nodes.map((node) => node.type).filter((type) => !(type in LiteGraph.registered_node_types)),
        graph: (await app.graphToPrompt()).output,
        boxes: nodes.map((node) => {
            const [wide, high] = node.computeSize();
            const title = LiteGraph.NODE_TITLE_HEIGHT;
            return {name: node.title, x: node.pos[0], y: node.pos[1] - title,
                width: Math.max(wide, node.size[0]), height: Math.max(high, node.size[1]) + title};
        }),
        groups: app.graph.groups.map((group) => {
            const [x, y, width, height] = group.boundingRect ?? group._bounding;
            return {name: group.title, x, y, width, height};
        }),
    };
}"""
SHOW = """([scale, x, y]) => {
    for (const node of app.graph.nodes) node.has_errors = false;
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [x, y];
    app.canvas.setDirty(true, true);
    app.canvas.draw(true, true);
}"""
"""The red outline of a node whose model file is missing would say that something is wrong with the workflow."""

RUN = """() => new Promise((done, fail) => {
    app.api.addEventListener("execution_success", () => done(), {once: true});
    app.api.addEventListener("execution_error", (event) => fail(event.detail.exception_message), {once: true});
    app.queuePrompt(0);
})"""

Box = dict[str, Any]


def main() -> None:
    """Check all workflows, take their pictures, and exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("server", help="address of a running ComfyUI with this pack")
    parser.add_argument("--into", type=Path, help="folder for the pictures")
    parser.add_argument(
        "--run", nargs="*", default=[], help="workflows to run before their picture"
    )
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    options = parser.parse_args()
    wrong = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = open_comfyui(browser.new_page(), options.server)
        for path in sorted(WORKFLOWS.glob("*.json")):
            found = page.evaluate(LOAD, json.loads(path.read_text(encoding="utf-8")))
            complaints = check(path.stem, found)
            sys.stdout.write(f"{path.stem}: {'; '.join(complaints) or 'well'}\n")
            wrong += len(complaints)
            if path.stem in options.run:
                run(page)
            if options.into is not None:
                options.into.mkdir(parents=True, exist_ok=True)
                picture(page, found, options.into / f"{path.stem}.png")
        browser.close()
    sys.exit(1 if wrong else 0)


def open_comfyui(page: Page, server: str) -> Page:
    """The page of a ComfyUI with the settings for pictures."""
    page.goto(server)
    page.wait_for_function("window.app?.graph && window.app.extensionManager?.setting")
    page.evaluate(
        "async (all) => { for (const [id, value] of Object.entries(all))"
        " await app.extensionManager.setting.set(id, value); }",
        SETTINGS,
    )
    page.reload()
    page.wait_for_function("window.app?.graph && window.app.extensionManager?.setting")
    page.wait_for_timeout(2000)  # the page loads a workflow of its own after it has started
    return page


def check(name: str, found: dict[str, Any]) -> list[str]:
    """What is wrong with a workflow as the browser has it, in a few words each."""
    complaints = [f"unknown node {kind}" for kind in found["unknown"]]
    api = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    # The API form leaves out what is only shown.
    if bare(
        {node: found["graph"].get(node, {"class_type": "", "inputs": {}}) for node in api}
    ) != bare(api):
        complaints.append(f"the browser would send another graph than api/{name}.json")
    boxes = found["boxes"]
    complaints += [
        f"{one['name']} and {other['name']} overlap"
        for index, one in enumerate(boxes)
        for other in boxes[:index]
        if overlap(one, other)
    ]
    complaints += [
        f"{box['name']} sticks out of the group {group['name']}"
        for group in found["groups"]
        for box in boxes
        if overlap(box, group) and not inside(box, group)
    ]
    return complaints


def run(page: Page) -> None:
    """Press Run and wait until it has ended; raises Playwright's Error when a node fails."""
    page.evaluate(RUN)
    page.wait_for_timeout(2000)  # the pictures are fetched after the run


def bare(graph: dict[str, Any]) -> dict[str, Any]:
    """An API graph without titles, which ComfyUI's versions spell differently."""
    return {
        node: {"class_type": found["class_type"], "inputs": found["inputs"]}
        for node, found in graph.items()
    }


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share an area."""
    return all(
        one[start] < other[start] + other[length] and other[start] < one[start] + one[length]
        for start, length in (("x", "width"), ("y", "height"))
    )


def inside(box: Box, group: Box) -> bool:
    """Whether a box lies in a group's."""
    return all(
        group[start] <= box[start] and box[start] + box[length] <= group[start] + group[length]
        for start, length in (("x", "width"), ("y", "height"))
    )


def picture(page: Page, found: dict[str, Any], path: Path) -> None:
    """Save the canvas, the whole graph on it."""
    boxes = found["boxes"] + found["groups"]
    left, top = (min(box[start] for box in boxes) - MARGIN for start in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    width, height = (round(length * SCALE) for length in (right - left, bottom - top))
    page.set_viewport_size({"width": width + 2 * PANELS, "height": height + 2 * PANELS})
    page.wait_for_timeout(500)  # the canvas follows the window
    page.evaluate(SHOW, [SCALE, PANELS / SCALE - left, PANELS / SCALE - top])
    page.wait_for_timeout(1000)  # text boxes follow the canvas in the next frames
    page.screenshot(path=path, clip={"x": PANELS, "y": PANELS, "width": width, "height": height})


if __name__ == "__main__":
    main()
