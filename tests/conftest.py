"""One real ComfyUI server for all tests that want one, and how properties are tried."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import Server, comfyui_tree

# The same examples on every machine, with nothing kept from run to run.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=25
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running ComfyUI (COMFYUI_PATH, COMFYUI_PYTHON; else .comfyui) with this pack in it."""
    comfyui_tree()
    base = tmp_path_factory.mktemp("comfyui")
    make_base_directory(base)
    running = Server(base)
    running.start()
    yield running
    running.stop()
