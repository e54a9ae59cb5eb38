"""A real Chromium on the pages of a real ComfyUI server."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.comfyui.server import Server

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
READY = "window.app?.graph && window.app.extensionManager?.setting"
PATIENCE_MS = 120_000
"""A busy machine takes a minute to open ComfyUI's page."""
SETTLED_MS = 2000
"""It loads a workflow of its own after it has started."""
RUN = """(workflow) => new Promise(async (done) => {
    await app.loadGraphData(workflow);
    for (const kind of ["execution_success", "execution_error"])
        app.api.addEventListener(kind, () => done(kind), {once: true});
    app.queuePrompt(0).catch(() => {});
    setInterval(() => Object.keys(app.lastNodeErrors ?? {}).length && done("refused"), 200);
})"""

RunInPage = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. The one thing here that a test may do without: it is no Python package."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("There is no Chromium for tests/browser: apt-get install chromium.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture(params=[False, True], ids=["classic nodes", "vue nodes"])
def page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """ComfyUI's page as a new visitor has it, ready for a workflow, with either kind of nodes."""
    yield from opened_page(browser, server, request.param)


@pytest.fixture
def classic_page(browser: Browser, server: Server) -> Iterator[Page]:
    """The same with classic nodes alone."""
    yield from opened_page(browser, server, vue=False)


def opened_page(browser: Browser, server: Server, vue: bool) -> Iterator[Page]:
    """A page of its own, closed at the end, also where it does not open: a page left behind goes on drawing."""
    with closing(browser.new_context(viewport={"width": 1600, "height": 900})) as context:
        context.set_default_timeout(PATIENCE_MS)
        opened = context.new_page()
        opened.goto(f"http://{server.address}")
        opened.wait_for_function(READY)
        switch = "(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
        opened.evaluate(switch, vue)
        opened.reload()
        opened.wait_for_function(READY)
        opened.wait_for_timeout(SETTLED_MS)
        yield opened


@pytest.fixture
def run_in_page(page: Page) -> RunInPage:
    """Open a workflow (the browser's format) in the page and run it there; says how it ended."""

    def run(workflow: dict[str, Any]) -> str:
        return str(page.evaluate(RUN, workflow))

    return run
