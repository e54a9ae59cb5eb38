"""Clients that people drive ComfyUI with run our calls: Comfy-Org's own two, and one that many use."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfy_sdk import Comfy
from PIL import Image

from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import ROOT, Server

API = ROOT / "workflows" / "api"
CALLS = sorted(path.name for path in API.glob("davae_*.json") if "sd35" not in path.name)
"""What runs on the bundled weights."""
PROGRAMS = Path(sys.executable).parent


def titles(graph):
    """Node ids by title."""
    return {node["_meta"]["title"]: number for number, node in graph.items()}


def shortened(graph):
    """The same graph with two steps for every sampler."""
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    return graph


def photograph(folder):
    path = folder / "photograph.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory):
    """The address at which Comfy-Org's proxy answers for the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PROGRAMS / "comfy-api-proxy", "run", "--comfyui", f"http://{server.address}"]
    log = tmp_path_factory.mktemp("proxy") / "log"
    with log.open("wb") as out:
        running = subprocess.Popen([*command, "--port", str(port)], stdout=out, stderr=out)
    try:
        for _ in range(200):
            if running.poll() is not None:
                pytest.fail(log.read_text())
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(30)


@pytest.mark.parametrize("name", CALLS)
def test_the_official_client_runs_every_call_on_the_bundled_weights(
    name, proxy, tmp_path, monkeypatch
):
    monkeypatch.setenv("COMFY_BASE_URL", proxy)
    client = Comfy()
    workflow = client.workflows.from_json(shortened(json.loads((API / name).read_text())))
    ids = titles(workflow.json)
    if "Load Image" in ids:
        sent = client.assets.from_file(photograph(tmp_path))
        workflow.set_input(ids["Load Image"], "image", sent)
    if name == "davae_reconstruct.json":
        workflow.set_input(ids["Load DA-VAE"], "vae_name", "miniature (bundled)")
    saved = client.run(workflow).get_outputs(ids["Save Image"])
    wanted = 4 if name == "davae_mini_batch.json" else 1
    assert len(saved) == wanted
    assert all(Image.open(io.BytesIO(one.to_bytes())).height == 256 for one in saved)


def run_example(proxy, picture, call=None):
    environment = {**os.environ, "COMFY_BASE_URL": proxy}
    script = ROOT / "docs" / "examples" / "official_client.py"
    command = [sys.executable, str(script), str(picture), "7"]
    return subprocess.run(
        command, cwd=call or ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_example_of_the_official_client_draws(proxy, tmp_path):
    done = run_example(proxy, tmp_path / "picture.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "picture.png").size == (256, 256)


def test_the_example_of_the_official_client_says_our_sentence(proxy, tmp_path):
    calls = tmp_path / "workflows" / "api"
    calls.mkdir(parents=True)
    graph = json.loads((API / "davae_mini.json").read_text())
    graph[titles(graph)["DA-VAE Sampler"]]["inputs"]["cfg"] = 1000
    (calls / "davae_mini.json").write_text(json.dumps(graph))
    done = run_example(proxy, tmp_path / "picture.png", tmp_path)
    assert done.returncode == 1 and not (tmp_path / "picture.png").exists()
    assert "DA-VAE Sampler was given 1000 for cfg: use a number between 0 and 100." in done.stderr


def comfy(home, *arguments):
    """comfy-cli, which keeps its settings in `home` and asks nothing."""
    environment = {**os.environ, "HOME": str(home)}
    program = [str(PROGRAMS / "comfy"), "--skip-prompt"]
    subprocess.run([*program, "tracking", "disable"], env=environment, check=True)
    return subprocess.run(
        [*program, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_comfy_cli_runs_a_call(server, tmp_path):
    host, port = server.address.split(":")
    before = set((server.base / "output").glob("davae_mini_*.png"))
    options = ("--workflow", str(API / "davae_mini.json"), "--host", host, "--port", port, "--wait")
    done = comfy(tmp_path, "run", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = set((server.base / "output").glob("davae_mini_*.png")) - before
    assert Image.open(saved).size == (256, 256)


def test_comfy_cli_finds_the_pack_fit_for_the_registry(tmp_path):
    done = comfy(tmp_path, "node", "validate")
    assert done.returncode == 0 and "rror" not in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """A server without previews."""
    base = tmp_path_factory.mktemp("silent")
    make_base_directory(base)
    server = Server(base, ("--preview-method", "none"))
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("name", CALLS)
def test_comfy_api_simplified_gets_pictures_and_no_text_for_one(name, silent, tmp_path):
    """It takes every binary frame for a picture, previews too, which this server sends none of."""
    client = ComfyApiWrapper(f"http://{silent.address}")
    call = ComfyWorkflowWrapper(str(API / name))
    shortened(call)
    if "Load Image" in titles(call):
        sent = client.upload_image(str(photograph(tmp_path)))
        call.set_node_param("Load Image", "image", f"{sent['subfolder']}/{sent['name']}")
    if name == "davae_reconstruct.json":
        call.set_node_param("Load DA-VAE", "vae_name", "miniature (bundled)")
    found = client.queue_and_wait_images(call, "Save Image")
    assert len(found) == (4 if name == "davae_mini_batch.json" else 1)
    assert all(Image.open(io.BytesIO(png)).height == 256 for png in found.values())
