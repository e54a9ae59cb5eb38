"""Nothing that leaves the server tells where its folders are, and text for the page goes to no other client."""

import io
import json
import time
import uuid

import pytest
import websocket
from PIL import Image

from tests.comfyui import base_directory as files
from tests.comfyui.graphs import (
    FILE_BUNDLED,
    decode,
    empty_latent,
    load,
    load_model,
    node,
    prompts,
    sampler,
    save,
)
from tests.comfyui.server import ROOT

TEXT = 3
"""The kind of binary frame that holds a node's text."""


def drawing(**changed):
    return {
        **prompts(),
        "model": load_model(FILE_BUNDLED, FILE_BUNDLED),
        "latent": empty_latent(256, 256),
        "drawn": sampler(steps=1),
        "vae": load(FILE_BUNDLED),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
        "info": node("DAVAE_Inspect", file=f"vae/{files.RANDOM}"),
        **changed,
    }


def forget(server):
    """Let every node run again."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(1.5)


def test_a_saved_picture_and_the_history_name_no_folder_of_the_server(server):
    result = server.run(drawing())
    saved = result.outputs["saved"]["images"][0]
    picture = server.get(
        f"/view?filename={saved['filename']}&subfolder={saved['subfolder']}&type=output"
    )
    chunks = Image.open(io.BytesIO(picture)).text
    assert "is_changed" in chunks["prompt"]
    # Of the prompts before some failed, and ComfyUI keeps their tracebacks.
    (own,) = (
        told for told in server.get_json("/history").values() if saved["filename"] in str(told)
    )
    for told in (*chunks.values(), json.dumps(own)):
        assert str(server.base) not in told and str(ROOT) not in told


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (files.TRUNCATED, f"vae/{files.TRUNCATED} is cut short"),
        (files.BASE, f"vae/{files.BASE} is a plain base VAE"),
    ],
)
def test_an_error_names_the_file_as_the_lists_do_and_has_a_name_of_its_own(server, file, words):
    error = server.run(drawing(vae=load(file))).error
    assert error["exception_type"] == "davae.CheckpointError"
    assert (
        words in error["exception_message"] and str(server.base) not in error["exception_message"]
    )


def test_a_plain_client_gets_no_text_frame_and_a_browser_does(server):
    forget(server)
    result = server.run(drawing())
    assert result.outputs["model"]["text"] and TEXT not in result.binary
    client = uuid.uuid4().hex
    page = websocket.create_connection(f"ws://{server.address}/ws?clientId={client}", timeout=60)
    try:
        page.send(
            json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": False}})
        )
        while json.loads(page.recv())["type"] != "feature_flags":
            pass
        forget(server)
        assert TEXT not in server.run(drawing()).binary
        told = page.recv()
        while not (
            isinstance(told, bytes)
            and int.from_bytes(told[:4], "big") == TEXT
            and b"steps, cfg" in told
        ):
            told = page.recv()
    finally:
        page.close()
