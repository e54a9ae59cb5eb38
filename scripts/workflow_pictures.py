"""Take pictures of the workflows' graphs in a real browser.

    apt-get install chromium; pip install playwright pillow
    python main.py --cpu --disable-all-custom-nodes --whitelist-custom-nodes davae-comfyui    (ComfyUI, with this pack)
    python scripts/workflow_pictures.py http://127.0.0.1:8188 FOLDER [--run NAME ...]

For every file in workflows/ it leaves NAME.png in FOLDER, drawn at the size of the graph, without ComfyUI's own panels;
workflows named after --run are run first, so that their pictures are in it.
"""

import argparse
import json
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
    return app.graph.nodes.map((node) => {
        const [wide, high] = node.computeSize();
        const title = LiteGraph.NODE_TITLE_HEIGHT;
        return {x: node.pos[0], y: node.pos[1] - title,
            width: Math.max(wide, node.size[0]), height: Math.max(high, node.size[1]) + title};
    });
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
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("server", help="address of a running ComfyUI with this pack")
    parser.add_argument("into", type=Path, help="folder for the pictures")
    parser.add_argument(
        "--run", nargs="*", default=[], help="workflows to run before their picture"
    )
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = open_comfyui(browser.new_page(), options.server)
        for path in sorted(WORKFLOWS.glob("*.json")):
            boxes = page.evaluate(LOAD, json.loads(path.read_text(encoding="utf-8")))
            if path.stem in options.run:
                run(page)
            picture(page, boxes, options.into / f"{path.stem}.png")
        browser.close()


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


def run(page: Page) -> None:
    """Press Run and wait until it has ended; raises Playwright's Error when a node fails."""
    page.evaluate(RUN)
    page.wait_for_timeout(2000)  # the pictures are fetched after the run


def picture(page: Page, boxes: list[Box], path: Path) -> None:
    """Save the canvas, the whole graph on it."""
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
