"""What ComfyUI's registry packs of this repository: whole, without what the pack does not use, and by its rules."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.workflows.names import DRAW
from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import PACK, ROOT, Server
from tests.comfyui.workflows import as_the_browser_sends_it, only

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

USED = {"__init__.py", "davae_core", "locales", "nodes", "subgraphs", "web", "workflows"}
READ_BY_PEOPLE = {"CHANGELOG.md", "LICENSE", "NOTICE", "README.md", "SECURITY.md"}
READ_BY_THE_REGISTRY = {".comfyignore", "pyproject.toml"}
REFUSED = "S102,S307,E702"
"""ruff's names of what `comfy node validate` refuses: exec, eval, and several statements on a line."""


def listed(*options: str) -> list[str]:
    """What git knows of; a tree without git's folder, of which nobody publishes, skips the test."""
    if not (ROOT / ".git").exists():
        pytest.skip("This is no git repository, from which alone the registry packs.")
    told = subprocess.run(
        ["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True
    )
    return [name for name in told.stdout.decode().split("\0") if name]


@pytest.fixture
def packed(tmp_path) -> Path:
    """A folder with the files that the registry would pack, under the pack's name."""
    left_out = set(listed("--ignored", "--cached", "--exclude-from=.comfyignore"))
    folder = tmp_path / PACK
    for name in listed():
        if name not in left_out and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_it_holds_what_the_pack_uses_and_nothing_else(packed):
    found = {path.name for path in packed.iterdir()}
    assert found == USED | READ_BY_PEOPLE | READ_BY_THE_REGISTRY
    whole = {name for name in listed() if name.partition("/")[0] in USED}
    kept = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.is_file()}
    assert not whole - kept


def test_it_runs_from_what_is_packed(packed, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    make_base_directory(base)
    place = base / "custom_nodes" / PACK
    place.unlink()
    shutil.copytree(packed, place)
    server = Server(base)
    server.start()
    try:
        graph = as_the_browser_sends_it(server, DRAW)
        graph[only(graph, "DAVAE_Sampler")]["inputs"]["steps"] = 1
        assert server.run(graph).error is None
    finally:
        server.stop()


def test_it_passes_the_rules_of_comfy_node_validate(packed):
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", REFUSED, "."]
    done = subprocess.run(command, cwd=packed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_pyproject_says_what_the_registry_asks_for():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = told["project"], told["tool"]["comfy"]
    assert all(project[key] for key in ("name", "version", "description", "license"))
    assert project["urls"]["Repository"].startswith("https://github.com/")
    assert all(comfy[key] for key in ("PublisherId", "DisplayName", "Icon", "Banner"))
    shapes = {}
    for key in ("Icon", "Banner"):
        name = comfy[key].partition("/main/")[2]
        with Image.open(ROOT / name) as picture:
            shapes[key] = picture.width / picture.height
    assert shapes["Icon"] == 1 and shapes["Banner"] == pytest.approx(21 / 9, abs=0.01)
