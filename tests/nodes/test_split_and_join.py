"""Split and Join DA-VAE Latent on a real server."""

import pytest
import torch
from PIL import Image

from tests.comfyui import base_directory as files
from tests.comfyui import tiny_models
from tests.comfyui.graphs import empty_latent, ksampler, load, node, prompts


def encoded(server, vae=files.RANDOM):
    colours = Image.radial_gradient("L").resize((64, 96)).convert("RGB")
    return {
        "vae": load(vae),
        "picture": node("LoadImage", image=server.upload(colours, "split.png")),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
        "parts": node("DAVAE_SplitLatent", samples=["latent", 0]),
    }


@pytest.mark.parametrize(
    ("vae", "channels"), [(files.RANDOM, [16, 16]), (files.OTHER_LAYOUT, [4, 12])]
)
def test_joining_what_was_split_is_the_latent_again(server, vae, channels):
    graph = {
        **encoded(server, vae),
        "detail": node("LatentMultiply", samples=["parts", 1], multiplier=1.0),
        "joined": node("DAVAE_JoinLatent", base=["parts", 0], detail=["parts", 1]),
    }
    whole, base, detail, joined = server.draw(graph, "latent", "parts", "detail", "joined")
    assert whole.shape[2:] == (6, 4) and [base.shape[1], detail.shape[1]] == channels
    assert torch.equal(torch.cat([base, detail], dim=1), whole)
    assert torch.equal(joined, whole)


def test_parts_of_different_sizes_are_refused_with_both_shapes(server):
    graph = {
        **encoded(server),
        "other": empty_latent(64, 64),
        "other_parts": node("DAVAE_SplitLatent", samples=["other", 0]),
        "joined": node("DAVAE_JoinLatent", base=["parts", 0], detail=["other_parts", 1]),
        "saved": node("SaveLatent", samples=["joined", 0], filename_prefix="never"),
    }
    sentence = server.run(graph).sentence
    assert "[1, 16, 6, 4]" in sentence and "[1, 16, 4, 4]" in sentence


def test_an_ordinary_latent_cannot_be_split(server):
    graph = {
        "latent": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "parts": node("DAVAE_SplitLatent", samples=["latent", 0]),
        "saved": node("SaveLatent", samples=["parts", 0], filename_prefix="never"),
    }
    assert "[1, 16, 8, 8]" in server.run(graph).sentence


def test_the_unwidened_model_draws_on_the_base_of_an_empty_latent_in_its_size(server):
    graph = {
        **prompts(),
        "model": node("UNETLoader", unet_name=tiny_models.BASE, weight_dtype="default"),
        "whole": empty_latent(64, 96),
        "latent": node("DAVAE_SplitLatent", samples=["whole", 0]),
        "drawn": ksampler(),
    }
    assert server.draw(graph, "drawn")[0].shape == (1, 16, 6, 4)


def test_parts_of_different_batches_are_refused_with_both_shapes(server):
    graph = {
        **encoded(server),
        "two": empty_latent(64, 96, batch_size=2),
        "two_parts": node("DAVAE_SplitLatent", samples=["two", 0]),
        "joined": node("DAVAE_JoinLatent", base=["parts", 0], detail=["two_parts", 1]),
        "saved": node("SaveLatent", samples=["joined", 0], filename_prefix="never"),
    }
    sentence = server.run(graph).sentence
    assert "[1, 16, 6, 4]" in sentence and "[2, 16, 6, 4]" in sentence
