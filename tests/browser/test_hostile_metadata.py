"""What a stranger's file says of itself is shown as text and never run."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from davae_core import mini

SCRIPT = "<img src=x onerror=\"document.title='run'; window.wasRun = true\">"


def info_of(file):
    """A workflow that shows what a file is."""
    return {
        "last_node_id": 1, "last_link_id": 0, "links": [], "groups": [], "version": 0.4,
        "nodes": [{
            "id": 1, "type": "DAVAE_Inspect", "pos": [200, 200], "size": [500, 400], "flags": {},
            "order": 0, "mode": 0, "inputs": [], "properties": {},
            "outputs": [{"name": "text", "type": "STRING", "links": None}],
            "widgets_values": [file],
        }],
    }  # fmt: skip


def hostile_base_name(described):
    described["parents"]["base_name"] = SCRIPT


def hostile_vae(described):
    described["parents"]["vae"] = SCRIPT


def hostile_kind(described):
    described["kind"] = SCRIPT


def nothing_hostile(described):
    assert described["parents"]


@pytest.mark.parametrize(
    ("spoil", "ending"),
    [
        (hostile_base_name, "execution_error"),
        (hostile_vae, "execution_error"),
        (hostile_kind, "execution_error"),
        (nothing_hostile, "execution_success"),
    ],
)
def test_markup_in_a_file_is_not_run_by_the_page(page, run_in_page, server, spoil, ending):
    name = f"{spoil.__name__}.safetensors"
    with safe_open(mini.adapter_path(), "pt") as file:
        described = json.loads(file.metadata()["davae"])
    spoil(described)
    path = server.base / "models" / "loras" / name
    save_file(load_file(mini.adapter_path()), path, {"davae": json.dumps(described)})
    assert run_in_page(info_of(f"loras/{name}")) == ending
    page.wait_for_timeout(1500)
    assert page.evaluate("window.wasRun === undefined")
    assert page.title() != "run"
    assert page.locator("img[src=x]").count() == 0
