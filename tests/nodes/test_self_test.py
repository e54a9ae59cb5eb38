"""The self-test's list is all that nodes/compat uses; that ComfyUI has it, test_vae_inside_comfyui.py holds."""

import ast
import importlib.util
from pathlib import Path

import pytest

from tests.test_house import COMFYUI_INTERNALS

COMPAT = Path(__file__).parents[2] / "nodes" / "compat"
TREES = {path.name: ast.parse(path.read_text("utf-8")) for path in sorted(COMPAT.glob("*.py"))}


@pytest.fixture(scope="module")
def features():
    """nodes/compat/features.py by itself, where there is no ComfyUI."""
    spec = importlib.util.spec_from_file_location("features", COMPAT / "features.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listed(features):
    return [
        f"{module}.{name}" for module, names in features.BUILT_ON.items() for name in names.split()
    ]


def bound_names(tree):
    """What a file's imports from ComfyUI bind, and the dotted name it stands for."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return {
        name: dotted
        for name, dotted in bound.items()
        if dotted.partition(".")[0] in COMFYUI_INTERNALS
    }


def dotted_name(node, bound):
    """`comfy.sd.VAE` for an expression that is written so, else None."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    known = bound.get(node.id) if isinstance(node, ast.Name) else None
    return None if known is None else ".".join([known, *reversed(attributes)])


def is_probe(node):
    """hasattr, or getattr with a default; without one it raises as an attribute does."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return (node.func.id, len(node.args)) in (("hasattr", 2), ("getattr", 3))


def names_used(tree):
    """Every name of ComfyUI's in a file, as long as it is written, without those that it looks for first."""
    bound = bound_names(tree)
    probes = [node for node in ast.walk(tree) if is_probe(node)]
    probed = {
        f"{dotted_name(node.args[0], bound)}.{ast.unparse(node.args[1])[1:-1]}" for node in probes
    }
    used, parts = set(), {id(node.args[0]) for node in probes}
    # Breadth first: the longest name comes before its parts.
    for node in ast.walk(tree):
        name = dotted_name(node, bound)
        if name is not None and id(node) not in parts:
            used.add(name)
        if name is not None and isinstance(node, ast.Attribute):
            parts.add(id(node.value))
    return used - probed


USED = set().union(*(names_used(tree) for tree in TREES.values()))
NODES = [node for tree in TREES.values() for node in ast.walk(tree)]


def test_every_name_that_compat_uses_is_on_the_list(features, listed):
    """A module that is used as a value is on no list, because an alias would hide its names from this test."""
    known = {*listed, *(name.rpartition(".")[0] for name in listed)} - set(features.BUILT_ON)
    assert USED - known == set()


def test_every_method_that_compat_calls_of_comfyui_s_classes_is_on_the_list(listed):
    called = {
        node.attr
        for node in NODES
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "super()"
    }
    assert called - {"__init__"} <= {name.rpartition(".")[2] for name in listed}


def test_the_list_names_nothing_that_compat_neither_uses_nor_overrides(listed):
    own = {node.name for node in NODES if isinstance(node, ast.FunctionDef)}
    parts = {name: name.rpartition(".") for name in listed}
    assert [
        name
        for name, (owner, _, method) in parts.items()
        if name not in USED and not (owner in USED and method in own)
    ] == []


def test_without_comfyui_all_is_reported_and_nothing_raises(features, listed):
    parameters = [f"comfy.sd.VAE({name}=)" for name in features.VAE_PARAMETERS]
    assert features.problems() == [*listed, *parameters]
