"""One real ComfyUI server for all tests that want one."""

from collections.abc import Iterator

import pytest

from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import Server, comfyui_tree


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
