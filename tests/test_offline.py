"""Nothing of this project speaks to the network unless it is told to: every call is forbidden and noted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = """
import os, sys
CALLS = []
def forbid(event, arguments):
    # PyTorch asks for a local socket in the file system; an address or a name of a host is another matter.
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        asked = arguments
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        asked = arguments[1]
    else:
        return
    CALLS.append((event, asked))
    raise PermissionError(f"the network was asked: {event} {asked}")
sys.addaudithook(forbid)
"""
SAID = """
if CALLS:
    sys.exit(f"network calls: {CALLS}")
"""
IMPORTS = """
import importlib, pkgutil
import davae_core, training
for package in (davae_core, training):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""
LOADS = """
import torch
from davae_core import mini
from davae_core.codec.files import load_base_vae, load_codec
from davae_core.inspection import inspect_file
from davae_core.mini.text_encoder_files import load_text_encoder
from davae_core.pipeline import load_pipeline
for path in (mini.davae_path(), mini.transformer_path(), mini.adapter_path(), mini.clip_path()):
    inspect_file(path)
load_codec(mini.davae_path()), load_base_vae(mini.davae_path())
load_pipeline(
    mini.transformer_path(), mini.davae_path(), adapter=mini.adapter_path(),
    encode_text=load_text_encoder(mini.clip_path()).encode, dtype=torch.float32,
).draw(["a red circle"], 64, 64, steps=1)
"""
DEMO = """
from davae_core.cli.commands import main
if main(["demo", "-o", sys.argv[1]]):
    sys.exit("the demo failed")
"""


def without_a_network(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `code` where every call is forbidden, with nothing in the environment that would keep libraries quiet."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WANDB"))
    }
    return subprocess.run(
        [sys.executable, "-c", FORBIDDEN + code + SAID, *map(str, arguments)],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("code", [IMPORTS, LOADS], ids=["import", "load and draw"])
def test_importing_loading_and_drawing_ask_nothing_of_the_network(code):
    done = without_a_network(code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_demo_asks_nothing_of_the_network(tmp_path):
    done = without_a_network(DEMO, tmp_path / "demo")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "demo" / "from_prompts.png").is_file()


@pytest.mark.parametrize(
    "call",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://host.invalid')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
    ],
)
def test_a_call_would_be_found_even_where_its_error_is_swallowed(call):
    done = without_a_network(f"try:\n    {call}\nexcept OSError:\n    pass\n")
    assert done.returncode == 1 and "network calls: [(" in done.stderr
