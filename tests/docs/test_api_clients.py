"""Clients that people drive ComfyUI with run our calls, where they are installed.

`pip install comfy-cli comfy-api-simplified`: they bring many packages of their own, so no command here does it.
"""

import io
import os
import shutil
import subprocess
from importlib.util import find_spec

import pytest
from PIL import Image

from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.server import ROOT, Server

CALL = ROOT / "workflows" / "api" / "davae_mini.json"
needs_comfy_cli = pytest.mark.skipif(
    shutil.which("comfy") is None, reason="There is no comfy-cli: pip install comfy-cli."
)
needs_simplified = pytest.mark.skipif(
    find_spec("comfy_api_simplified") is None,
    reason="There is no comfy-api-simplified: pip install comfy-api-simplified.",
)


def comfy(home, *arguments):
    """comfy-cli, which keeps its settings in `home` and asks nothing."""
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run(["comfy", "--skip-prompt", "tracking", "disable"], env=environment, check=True)
    return subprocess.run(
        ["comfy", "--skip-prompt", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@needs_comfy_cli
def test_comfy_cli_runs_a_call(server, tmp_path):
    host, port = server.address.split(":")
    before = set((server.base / "output").glob("davae_mini_*.png"))
    options = ("--workflow", str(CALL), "--host", host, "--port", port, "--wait")
    done = comfy(tmp_path, "run", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = set((server.base / "output").glob("davae_mini_*.png")) - before
    assert Image.open(saved).size == (256, 256)


@needs_comfy_cli
def test_comfy_cli_finds_the_pack_fit_for_the_registry(tmp_path):
    done = comfy(tmp_path, "node", "validate")
    assert done.returncode == 0 and "rror" not in done.stdout, done.stdout + done.stderr


@needs_simplified
def test_comfy_api_simplified_gets_the_picture_and_no_text_for_a_picture(tmp_path):
    """It takes every binary frame for a picture, previews too, which this server sends none of."""
    from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper

    make_base_directory(tmp_path)
    server = Server(tmp_path, ("--preview-method", "none"))
    server.start()
    try:
        call = ComfyWorkflowWrapper(str(CALL))
        call.set_node_param("DA-VAE Sampler", "steps", 2)
        client = ComfyApiWrapper(f"http://{server.address}")
        ((_, png),) = client.queue_and_wait_images(call, "Save Image").items()
    finally:
        server.stop()
    assert Image.open(io.BytesIO(png)).size == (256, 256)
