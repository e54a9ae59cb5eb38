"""What is said of safety and licences is there: the tests that hold it, the photographs, the packages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from davae_core.cli.demo_photographs import HELD_OUT
from training.mini import photographs

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LICENCES = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", SECURITY)
    assert len(named) > 15
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not test or test in functions, f"{file} has no {test}"


@pytest.mark.parametrize("who", ["checkpoint", "workflow", "caption", "picture"])
def test_everybody_who_is_not_trusted_has_a_section(who):
    assert f"### A hostile {who}\n" in SECURITY
    assert "### A client in your network\n" in SECURITY


def section(title: str) -> str:
    return DATA.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "pictures"),
    [
        ("Trained on", photographs.TRAINING),
        ("Looked at to choose settings", photographs.CHOOSING),
        ("Reported on, and nothing else", photographs.HELD_OUT),
    ],
)
def test_every_photograph_stands_there_with_its_licence(title, pictures):
    rows = [line for line in section(title).splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {p.name} | {p.package}, `{p.file}` | {p.licence} |" for p in pictures]
    assert {p.name for p in photographs.HELD_OUT} == set(HELD_OUT)


def test_every_package_that_is_asked_for_has_its_licence_there():
    groups = re.findall(
        r"^([\w-]+) = \[$", PYPROJECT.partition("[project.scripts]")[0], re.MULTILINE
    )
    extras = [name for name in groups if name not in ("classifiers", "dependencies")]
    assert {"demo", "train", "train-8bit", "test"} <= set(extras)
    command = [sys.executable, "scripts/requirements.py", *extras]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = {re.split(r"[^\w-]", line)[0] for line in done.stdout.splitlines()}
    told = dict(re.findall(r"^\| ([\w-]+) \| [^|]+ \| ([^|]+) \|$", LICENCES, re.MULTILINE))
    assert set(told) - {"package"} == names and all(told.values())
