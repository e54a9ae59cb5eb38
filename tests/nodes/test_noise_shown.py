"""What the samplers say: the noise they start at, which the shift makes more than one thinks, and what they took."""

import re

import pytest
from PIL import Image

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import load, load_model, node, prompts, sampler

TOOK = r"2 x 2 tokens, 30 steps, [\d.e-]+ s each"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"denoise": 0.5, "shift": 4.0, "scheduler": "da-vae"}, f"starts at 80 % noise; {TOOK}"),
        ({"denoise": 0.5, "shift": 1.0, "scheduler": "da-vae"}, f"starts at 49 % noise; {TOOK}"),
        ({"denoise": 0.5, "shift": 4.0, "scheduler": "simple"}, f"starts at 80 % noise; {TOOK}"),
        ({"denoise": 0.0, "shift": 4.0, "scheduler": "da-vae"}, "starts at 0 % noise"),
        ({"denoise": 1.0}, TOOK),
        ({"denoise": 1.0, "steps": 1}, "2 x 2 tokens, 1 step"),
    ],
)
def test_it_tells_the_share_of_noise_and_what_it_took(server, changed, told):
    picture = server.upload(Image.radial_gradient("L").resize((64, 64)).convert("RGB"), "noise.png")
    graph = {
        **prompts(),
        "model": load_model(files.BASE, files.ADAPTER),
        "vae": load(codecs.RANDOM),
        "picture": node("LoadImage", image=picture),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
        "drawn": sampler(**{"steps": 30, **changed}),
        "kept": node("SaveLatent", samples=["drawn", 0], filename_prefix="noise"),
    }
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    (shown,) = result.outputs["drawn"]["text"]
    assert re.fullmatch(told, shown), shown
