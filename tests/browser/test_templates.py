"""Every template opens in ComfyUI's page, and those for the miniature run there and show their pictures."""

import pytest

from scripts.workflows.names import APP, BATCH, COMPARE, DETAIL_PASS, DRAW
from tests.comfyui.workflows import WORKFLOWS, read, read_api

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
RUNNABLE = [name for name in NAMES if not name.startswith("SD3.5")]
CALLED_AS_SHOWN = [
    *(DRAW, DETAIL_PASS, COMPARE, BATCH),
    *(name for name in NAMES if name.startswith("SD3.5")),
]
"""Programs bring pictures of their own to the others."""
OPEN = """async (workflow) => {
    await app.loadGraphData(workflow, true, true, null);
    return app.graph.nodes.map((node) => node.type).filter((kind) => !(kind in LiteGraph.registered_node_types));
}"""
RUN_AND_COUNT_PREVIEWS = """() => new Promise((done) => {
    let previews = 0;
    for (const kind of ["b_preview", "b_preview_with_metadata"])
        app.api.addEventListener(kind, () => previews++);
    for (const kind of ["execution_success", "execution_error"])
        app.api.addEventListener(kind, ({detail}) => done([kind, previews, detail.exception_message]), {once: true});
    app.queuePrompt(0);
})"""
SAVED = """() => {
    const node = app.graph.nodes.find((node) => node.type === "SaveImage");
    const shown = [...(node.imgs ?? []), ...document.querySelectorAll("img[src*='/view?']")];
    return shown.filter((picture) => picture.complete && picture.naturalWidth > 0).length;
}"""
SENT = "async () => (await app.graphToPrompt()).output"
BOXES = """() => app.graph.nodes.map((node) => {
    const [wide, high] = node.computeSize();
    const title = LiteGraph.NODE_TITLE_HEIGHT;
    return [node.title, node.pos[0], node.pos[1] - title,
        node.pos[0] + Math.max(wide, node.size[0]), node.pos[1] + Math.max(high, node.size[1])];
})"""
HIDDEN = """() => app.graph.nodes.find((node) => node.type === "DAVAE_Decode").widgets
    .filter((widget) => widget.hidden).map((widget) => widget.name)"""
WAIT_MS = 30_000


@pytest.fixture
def complaints(page):
    """What the page writes to its console as an error while a test runs; of the network only what is ours."""
    told = []

    def note(message):
        foreign = "Failed to load resource" in message.text or "Content Security" in message.text
        if message.type == "error" and not foreign:
            told.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: told.append(str(error)))
    return told


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_without_an_unknown_node_or_an_error_in_the_console(page, complaints, name):
    assert page.evaluate(OPEN, read(f"{name}.json")) == []
    page.wait_for_timeout(500)
    assert not complaints


def test_the_page_sends_the_graph_that_a_program_sends(page):
    for name in CALLED_AS_SHOWN:
        page.evaluate(OPEN, read(f"{name}.json"))
        sent = page.evaluate(SENT)
        for node, wanted in read_api(name).items():
            assert sent[node]["class_type"] == wanted["class_type"]
            given = sent[node]["inputs"]
            if given.get("mode") == "full and draft":
                given["mode"] = "full"  # the draft is only shown
            assert given == wanted["inputs"], name


def test_no_node_lies_on_another_as_the_page_draws_them(page):
    for name in NAMES:
        page.evaluate(OPEN, read(f"{name}.json"))
        page.wait_for_timeout(300)
        boxes = page.evaluate(BOXES)
        lying = [
            (one[0], other[0])
            for index, one in enumerate(boxes)
            for other in boxes[:index]
            if one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]
        ]
        assert not lying, name


@pytest.mark.parametrize("name", RUNNABLE)
def test_those_that_need_no_file_run_with_previews_and_show_a_picture(classic_page, name):
    assert_runs(classic_page, name, seed=1000 + RUNNABLE.index(name))


def test_the_first_runs_with_previews_and_shows_a_picture_in_either_kind_of_nodes(page, request):
    assert_runs(page, DRAW, seed=2000 + request.node.callspec.params["page"])


def assert_runs(page, name, seed):
    """It runs in the page, a preview at every step and a picture at the end; no other test has had that seed."""
    workflow = read(f"{name}.json")
    drawing = [node for node in workflow["nodes"] if "Sampler" in node["type"]]
    for node in drawing:
        node["widgets_values"][0] = seed
    page.evaluate(OPEN, workflow)
    how, previews, told = page.evaluate(RUN_AND_COUNT_PREVIEWS)
    assert how == "execution_success", told
    assert previews >= 10 * len(drawing)
    page.wait_for_function(f"({SAVED})() > 0", timeout=WAIT_MS)


def test_an_app_shows_its_inputs_alone_where_comfyui_has_apps_and_the_graph_elsewhere(page):
    page.evaluate(OPEN, read(f"{APP}.json"))
    page.wait_for_timeout(1000)
    shown = page.inner_text("body")
    if "Build an app" in shown:
        assert "steps" in shown and "Number of runs" in shown and "Load DA-VAE" not in shown
    else:
        assert page.evaluate("() => app.graph.nodes.length") == len(read(f"{APP}.json")["nodes"])


def test_tile_widgets_show_only_where_they_count(page):
    workflow = read(f"{DRAW}.json")
    page.evaluate(OPEN, workflow)
    assert page.evaluate(HIDDEN) == ["tile_size", "overlap"]
    for node in workflow["nodes"]:
        if node["type"] == "DAVAE_Decode":
            node["widgets_values"][0] = "tiled"
    page.evaluate(OPEN, workflow)
    assert page.evaluate(HIDDEN) == []
