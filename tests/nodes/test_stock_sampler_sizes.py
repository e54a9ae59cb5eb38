"""Stock samplers check no size, so our MODEL does: too many tokens is a sentence, a size far off a warning."""

import json
import uuid

import websocket

from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import empty_latent, ksampler, load_model, node, prompts


def drawing(width, height, adapter=files.ADAPTER_1024, **changed):
    return {
        **prompts(),
        "model": load_model(files.BASE, adapter),
        "latent": empty_latent(width, height),
        "drawn": ksampler(steps=2, **changed),
        "kept": node("SaveLatent", samples=["drawn", 0], filename_prefix="stock"),
    }


def test_more_tokens_than_there_are_positions_for_is_one_sentence(server):
    result = server.run(drawing(64, 32 * (files.POSITIONS + 1), files.ADAPTER))
    assert "This sampler got a latent of 64x2336 pixels, which is 73 tokens" in result.sentence
    assert files.BASE in result.sentence and result.sentence.endswith("use a smaller latent.")


def test_a_size_far_from_the_trained_one_is_a_warning_once_in_a_sampling(server):
    client = uuid.uuid4().hex
    page = websocket.create_connection(f"ws://{server.address}/ws?clientId={client}", timeout=60)
    try:
        page.send(
            json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": False}})
        )
        before = server.read_log().count("expect a picture that falls apart")
        for seed in (1, 2):
            assert server.run(drawing(256, 256, seed=seed)).outputs["kept"]
        assert server.read_log().count("expect a picture that falls apart") == before + 2
        told = []
        while len(told) < 2:
            message = page.recv()
            if isinstance(message, str) and json.loads(message)["type"] == "davae.warning":
                told.append(json.loads(message)["data"]["text"])
        assert all("draws 256x256 pixels, but was trained at 1024x1024" in text for text in told)
    finally:
        page.close()


def test_the_trained_size_is_no_warning(server):
    before = server.read_log().count("expect a picture that falls apart")
    assert server.run(drawing(1024, 768)).outputs["kept"]
    assert server.read_log().count("expect a picture that falls apart") == before
