"""The locks hold what is asked for, known by hash, and are what make installs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui"))
LOCKS = ROOT / "tests" / "locks"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = {"demo": ("demo",), "test": ("demo", "diffusers", "train", "test")}
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked(environment: str, python: str) -> dict[str, str]:
    """Name and version of every package in the lock for Linux on x86-64."""
    head, lines = [], []
    for line in (LOCKS / f"{environment}-linux-x86_64-{python}.txt").read_text().splitlines():
        (lines if "==" in line else head).append(line)
    assert head[1:] == ["--require-hashes", "--only-binary :all:"]
    found = [LINE.fullmatch(line) for line in lines]
    assert found and all(found)
    return {match[1]: match[2] for match in found if match}


def wanted(environment: str) -> list[Requirement]:
    """What pyproject.toml, the constraints and for the tests ComfyUI ask for."""
    command = [sys.executable, "scripts/requirements.py", *EXTRAS[environment]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    if environment == "test":
        lines += [*(COMFYUI / "requirements.txt").read_text().splitlines(), "requests"]
    return [Requirement(bare) for line in lines if (bare := line.partition("#")[0].strip())]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("environment", EXTRAS)
def test_the_committed_lock_has_what_is_asked_for(environment, python):
    found = locked(environment, python)
    for requirement in wanted(environment):
        version = found[requirement.name.lower().replace("_", "-").replace(".", "-")]
        assert requirement.specifier.contains(version, prereleases=True), requirement
    for line in (ROOT / "tests" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert found.get(name, version) == version


@pytest.mark.parametrize("python", PYTHONS)
def test_the_committed_locks_of_one_python_agree(python):
    demo, test = locked("demo", python), locked("test", python)
    assert {name: test.get(name) for name in demo} == demo


def test_the_committed_locks_name_no_address():
    texts = [path.read_text() for path in LOCKS.iterdir()]
    assert len(texts) == len(EXTRAS) * len(PYTHONS)
    assert not any("//" in text or "index" in text for text in texts)


def test_make_installs_the_lock_of_its_python():
    makefile = (ROOT / "Makefile").read_text()
    for environment in EXTRAS:
        assert f"$(INSTALL) {environment} " in makefile
    assert "pip install" not in makefile
    name = script("locked").lock_path("test").name
    assert name.startswith("test-") and name.endswith(".txt")
    assert name.rpartition("-")[2] == f"{sys.version_info[0]}.{sys.version_info[1]}.txt"


def test_a_line_has_name_version_and_hash_and_no_address():
    entry = {
        "metadata": {"name": "Some_Package.x", "version": "1.2"},
        "download_info": {
            "url": "https://host.invalid/some.whl",
            "archive_info": {"hashes": {"sha256": "ab" * 32}},
        },
    }
    line = script("locked").locked_line(entry)
    assert line == f"some-package-x==1.2 --hash=sha256:{'ab' * 32}\n"


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"LOCK": "no"}, "LOCK=no: the newest versions"), ({}, "There is no nothing-")],
)
def test_what_is_not_locked_is_said(environment, said, tmp_path):
    nothing = tmp_path / "nothing.txt"
    nothing.touch()
    done = subprocess.run(
        [sys.executable, "scripts/locked.py", "install", "nothing", str(nothing)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and said in done.stdout
