"""Every promise names a test that is there, and every figure is one that a long run left."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks.reliability import results

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FORMS = ("fuzz", "prompts", "kills", "soak")


def test_every_promise_names_a_test_that_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(rows) >= 14 and len(named) >= len(rows)
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("form", FORMS)
def test_the_figures_of_every_long_form_are_the_committed_ones(form):
    figures = results.read()[form]
    table = results.tables({form: figures})[form]
    assert f"<!-- {form} -->\n{table}\n" in PAGE
    assert str(figures["machine"]) in PAGE


def test_no_long_form_found_anything_wrong():
    found = results.read()
    outcomes = found["fuzz"]["outcomes"]
    assert {name for name, count in outcomes.items() if count} <= {"valid", "sentence"}
    assert all(found[form]["wrong"] == 0 for form in ("prompts", "kills", "soak"))
