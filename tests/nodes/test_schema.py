"""Node ids and inputs are for ever: saved workflows know widgets by their position."""

import json
from pathlib import Path

import pytest

SNAPSHOT = json.loads((Path(__file__).parent / "schema.json").read_text())
LIMITS = ("default", "min", "max", "step", "round", "control_after_generate")
"""What decides which saved values fit a widget, and how many the browser saves for it."""


@pytest.fixture(scope="module")
def nodes(server):
    found = server.get_json("/object_info")
    return {name: info for name, info in found.items() if name.startswith("DAVAE_")}


def inputs(info):
    return [
        (name, kind[0], kind[1])
        for group in ("required", "optional")
        for name, kind in info["input"].get(group, {}).items()
    ]


def described(info):
    """A node as the snapshot holds it; a combo's type is a list of its options in old servers."""
    found = []
    for name, kind, options in inputs(info):
        limits = {key: options[key] for key in LIMITS if key in options}
        if "miniature (bundled)" in (
            kind if isinstance(kind, list) else options.get("options", [])
        ):
            # Which file a new node begins with depends on those that are there.
            del limits["default"]
        found.append([name, kind if isinstance(kind, str) else "COMBO", limits])
    return {"inputs": found, "outputs": info["output"]}


def test_node_ids_inputs_and_outputs_are_those_of_the_snapshot(nodes):
    assert {name: described(info) for name, info in nodes.items()} == SNAPSHOT


def test_inputs_keep_the_order_they_were_released_in(nodes):
    for name, info in nodes.items():
        order = [
            entry
            for group in ("required", "optional")
            for entry in info["input_order"].get(group, [])
        ]
        assert order == [entry[0] for entry in SNAPSHOT[name]["inputs"]], name


def test_decode_offers_full_tiled_draft_and_both(nodes):
    assert nodes["DAVAE_Decode"]["input"]["required"]["mode"][1]["options"] == [
        "full",
        "tiled",
        "draft",
        "full and draft",
    ]


def test_every_input_and_output_has_a_tooltip(nodes):
    for name, info in nodes.items():
        assert all(options.get("tooltip") for _, _, options in inputs(info)), name
        assert info["output_tooltips"] and all(info["output_tooltips"]), name
        assert info["description"], name


def test_every_node_stands_under_da_vae_and_comes_from_this_pack(nodes):
    assert {info["category"] for info in nodes.values()} == {"DA-VAE"}
    assert {info["python_module"] for info in nodes.values()} == {"custom_nodes.davae_pack"}


def test_the_loader_offers_models_vae_and_then_the_bundled_miniature(nodes):
    widget = nodes["DAVAE_LoadVAE"]["input"]["required"]["vae_name"][1]
    assert widget["options"][-1] == "miniature (bundled)"
    assert "davae_random.safetensors" in widget["options"]
    # Of the user's own files one that is called like a DA-VAE comes with a new node.
    assert "davae" in widget["default"] and widget["default"] in widget["options"]


def test_a_new_node_takes_an_adapter_only_beside_a_base_of_the_user_s(nodes):
    widgets = nodes["DAVAE_LoadModel"]["input"]["required"]
    base, adapter = (widgets[name][1] for name in ("base_name", "adapter_name"))
    bundled = "miniature (bundled)"
    assert (base["default"] == bundled) == (adapter["default"] == bundled)
    assert adapter["options"][-2:] == [bundled, "miniature, detail pass (bundled)"]


def test_the_server_says_in_one_line_that_the_nodes_are_ready(server):
    log = server.read_log()
    assert log.count("DA-VAE: nodes ready.") == 1
    assert "IMPORT FAILED" not in log
