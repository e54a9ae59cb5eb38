"""Load Miniature CLIP on a real server: into the stock CLIP Text Encode, and wrong files refused."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from davae_core import mini
from tests.comfyui import base_directory as files
from tests.comfyui import tiny_models
from tests.comfyui.graphs import FILE_BUNDLED, empty_latent, load_model, node, prompts, sampler


@pytest.fixture(scope="module")
def folder(server):
    """models/text_encoders with a copy of the miniature and files that are something else."""
    found = server.base / "models" / "text_encoders"
    shutil.copy(mini.clip_path(), found / "mini_copy.safetensors")
    ordinary = {
        "text_model.embeddings.token_embedding.weight": torch.zeros(8, 768),
        "text_model.encoder.layers.1.mlp.fc1.weight": torch.zeros(8, 8),
    }
    save_file(ordinary, found / "clip_l.safetensors")
    shutil.copy(server.base / "models" / "vae" / files.RANDOM, found / "davae.safetensors")
    (found / "cut.safetensors").write_bytes(mini.clip_path().read_bytes()[:1_000_000])
    return found


def drawn(server, **changed):
    """What the tiny model draws, told by the text encoder of node "clip"."""
    graph = {
        **prompts(),
        "model": load_model(tiny_models.BASE, tiny_models.ADAPTER),
        "latent": empty_latent(),
        "drawn": sampler(),
        **changed,
    }
    return server.draw(graph, "drawn")[0]


def loaded(name):
    return node("DAVAE_LoadMiniCLIP", clip_name=name)


def prompt(text):
    return node("CLIPTextEncode", clip=["clip", 0], text=text)


def test_a_file_in_models_text_encoders_is_read_like_the_bundled_one(server, folder):
    assert torch.equal(drawn(server), drawn(server, clip=loaded("mini_copy.safetensors")))


def test_words_and_their_weights_decide_what_is_drawn(server):
    plain, other, heavy = (
        drawn(server, positive=prompt(text))
        for text in ("a red circle", "a blue circle", "a (red circle:2.0)")
    )
    assert (plain - other).abs().max() > 1e-3
    assert (plain - heavy).abs().max() > 1e-4


def test_a_clip_skip_changes_what_is_drawn(server):
    skipped = node("CLIPSetLastLayer", clip=["loaded", 0], stop_at_clip_layer=-3)
    graph = {"loaded": loaded(FILE_BUNDLED), "clip": skipped}
    assert (drawn(server) - drawn(server, **graph)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("clip_l.safetensors", "a CLIP text encoder of width 768, not a miniature CLIP"),
        ("davae.safetensors", "a DA-VAE, not a miniature CLIP"),
        ("cut.safetensors", "cut short"),
    ],
)
def test_a_wrong_file_is_named_with_what_to_use_instead(server, folder, file, reason):
    graph = {
        "clip": loaded(file),
        "text": prompt("a cat"),
        "shown": node("PreviewAny", source=["text", 0]),
    }
    sentence = server.run(graph).sentence
    assert file in sentence and reason in sentence
    assert "CLIPLoader" in sentence or "download" in sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence


def test_the_loader_offers_the_bundled_miniature_last(server, folder):
    info = server.get_json("/object_info/DAVAE_LoadMiniCLIP")["DAVAE_LoadMiniCLIP"]
    options = info["input"]["required"]["clip_name"][1]["options"]
    assert options[-1] == FILE_BUNDLED and "mini_copy.safetensors" in options
