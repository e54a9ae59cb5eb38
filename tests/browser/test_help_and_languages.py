"""A node's help opens in ComfyUI's page, and the page speaks other languages."""

from scripts.workflows.names import DRAW
from tests.browser.conftest import READY, SETTLED_MS
from tests.comfyui.workflows import read

OPEN = "async (workflow) => { await app.loadGraphData(workflow); }"
SELECT = """() => {
    const node = app.graph.nodes.find((node) => node.type === "DAVAE_Sampler");
    (app.canvas.selectNode ?? app.canvas.select).call(app.canvas, node);
    app.canvas.setDirty(true, true);
}"""
TITLE = """() => LiteGraph.registered_node_types.DAVAE_Sampler.title"""
LABELS = """() => app.graph.nodes.find((node) => node.type === "DAVAE_Sampler").widgets
    .map((widget) => widget.label ?? widget.name)"""


def open_in(page, language):
    page.evaluate("(to) => app.extensionManager.setting.set('Comfy.Locale', to)", language)
    page.reload()
    page.wait_for_function(READY)
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate(OPEN, read(f"{DRAW}.json"))


def open_help(page):
    page.evaluate(SELECT)
    button = page.locator('[data-testid="info-button"]').first
    button.wait_for(state="attached", timeout=10_000)
    # Where the page draws it over its own tabs, a mouse would not reach it.
    button.dispatch_event("click")


def test_the_help_of_a_node_opens(page):
    page.evaluate(OPEN, read(f"{DRAW}.json"))
    open_help(page)
    page.get_by_text("KSampler with the paper's settings").first.wait_for(timeout=10_000)


def test_nodes_widgets_and_help_are_chinese_on_a_chinese_page(page, server):
    """The page of ComfyUI 0.3 drops packs' words in other languages than English (1.32.9 seen), not their help."""
    version = server.get_json("/system_stats")["system"]["comfyui_version"]
    open_in(page, "zh")
    try:
        if tuple(int(part) for part in version.split(".")[:2]) > (0, 3):
            assert page.evaluate(TITLE) == "DA-VAE 采样器"
            assert "步数" in page.evaluate(LABELS)
        open_help(page)
        page.get_by_text("示例").first.wait_for(timeout=10_000)
    finally:
        open_in(page, "en")
