"""One real ComfyUI server for all tests that want one, which tests are slow, and how properties are tried."""

from collections.abc import Iterator
from inspect import isfunction
from pathlib import Path
from types import FunctionType

import pytest
from hypothesis import settings

from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import Server, comfyui_tree

# The same examples on every machine, with nothing kept from run to run.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=25
)
settings.load_profile("repeatable")

SLOW_FIXTURES = {
    "server", "found", "answers",
    "write_config", "write_dit_config", "cache_config", "trained",
}  # fmt: skip
"""Those of a ComfyUI that runs, and of what is trained or cached."""
STARTERS = {"subprocess", "on_two_processes"}
"""What starts processes."""
BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts a server or processes, trains, caches or measures; others are marked at their place."""
    for item in items:
        assert isinstance(item, pytest.Function)
        runs = SLOW_FIXTURES & set(item.fixturenames) or STARTERS & names_used(item.function)
        if runs or BENCHMARKS in item.path.parents:
            item.add_marker("slow")


def names_used(test: FunctionType) -> set[str]:
    """The names that a test uses, itself and in the functions of its own file."""
    found: set[str] = set()
    waiting = [test]
    while waiting:
        new = set(waiting.pop().__code__.co_names) - found
        found |= new
        known = (test.__globals__.get(name) for name in new)
        waiting += [
            value for value in known if isfunction(value) and value.__module__ == test.__module__
        ]
    return found


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
