"""DA-VAE ControlNet Adapter on a real server, between the stock loader and the stock Apply ControlNet."""

import pytest
import torch
from PIL import Image

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_controlnets as controls
from tests.comfyui import tiny_models as models
from tests.comfyui.graphs import empty_latent, load, load_model, node, prompts, sampler


@pytest.fixture(scope="module")
def graph(server):
    """A drawing by the tiny model, controlled by a chequered picture; change node "applied" for its strength."""
    controls.write_controlnets(server.base / "models" / "controlnet")
    chequered = Image.new("RGB", (2, 2), "white")
    chequered.putpixel((0, 0), (0, 0, 0))
    name = server.upload(chequered.resize((64, 64)), "control.png")
    return {
        **prompts(),
        "model": load_model(models.BASE, models.ADAPTER),
        "vae": load(codecs.RANDOM),
        "latent": empty_latent(),
        "picture": node("LoadImage", image=name),
        "net": node("ControlNetLoader", control_net_name=controls.DIFFUSERS),
        "adapted": node("DAVAE_ControlNetAdapter", control_net=["net", 0]),
        "drawn": sampler(positive=["applied", 0], negative=["applied", 1]),
    }


def applied(strength, net="adapted"):
    return node(
        "ControlNetApplyAdvanced",
        positive=["positive", 0],
        negative=["negative", 0],
        control_net=[net, 0],
        image=["picture", 0],
        strength=strength,
        start_percent=0.0,
        end_percent=1.0,
        vae=["vae", 0],
    )


def test_the_control_moves_the_drawing_at_strength_1_and_not_at_strength_0(server, graph):
    free = server.draw({**graph, "drawn": sampler()}, "drawn")[0]
    none = server.draw({**graph, "applied": applied(0.0)}, "drawn")[0]
    whole = server.draw({**graph, "applied": applied(1.0)}, "drawn")[0]
    assert torch.equal(none, free)
    assert (whole - free).abs().max() > 0.01


def test_without_the_adapter_the_stock_control_does_not_fit(server, graph):
    result = server.run({**graph, "applied": applied(1.0, net="net"), "kept": kept()})
    assert result.error is not None


def test_a_control_of_another_width_is_refused_and_the_next_drawing_works(server, graph):
    wide = node("ControlNetLoader", control_net_name=controls.WIDE)
    result = server.run({**graph, "net": wide, "applied": applied(1.0), "kept": kept()})
    assert "192 wide" in result.sentence and "128 wide" in result.sentence
    assert server.draw({**graph, "applied": applied(1.0)}, "drawn")[0].isfinite().all()


def test_the_node_is_marked_experimental(server):
    info = server.get_json("/object_info/DAVAE_ControlNetAdapter")["DAVAE_ControlNetAdapter"]
    assert info["experimental"] is True


def kept():
    return node("SaveLatent", samples=["drawn", 0], filename_prefix="never")
