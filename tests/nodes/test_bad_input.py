"""Wrong files, wrong pairs, damaged latents: one sentence from the node, and the server works on."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.comfyui import base_directory as files
from tests.comfyui.graphs import decode, load, node, save


def assert_one_sentence(text):
    """Some words, one line, no traceback, no second full sentence after the first."""
    assert text.endswith(".") and "\n" not in text and "Traceback" not in text
    assert ". " not in text, f"more than one sentence: {text}"


def latent_file(server, name, latents):
    """Put a latent where Load Latent finds it."""
    tensors = {"latent_tensor": latents, "latent_format_version_0": torch.tensor([])}
    save_file(tensors, server.base / "input" / f"{name}.latent")
    return node("LoadLatent", latent=f"{name}.latent")


def run_picture(server, picture, name, **further):
    return server.run(
        {
            "vae": load(files.RANDOM),
            "picture": node("LoadImage", image=server.upload(picture, name)),
            "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
            "decoded": decode(),
            "saved": save("decoded"),
            **further,
        }
    )


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (files.TRUNCATED, "cut short"),
        (files.EMPTY, "empty"),
        (files.TEXT, "not a safetensors file"),
        (files.FOREIGN, "an unknown kind of file, not a DA-VAE"),
        (files.MISLABELLED, "has damaged DA-VAE metadata"),
        (files.PICKLE, "pickle"),
        (files.DISGUISED_PICKLE, "pickle"),
        (files.SD1, "a plain VAE of 4 latent channels, not a DA-VAE"),
        (files.BASE, "a plain base VAE, not a DA-VAE"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong_and_what_to_do(server, file, reason):
    result = server.run(
        {"vae": load(file), "latent": empty(), "image": decode(), "saved": save("image")}
    )
    assert file in result.sentence and reason in result.sentence
    assert any(word in result.sentence for word in ("pick", "download", "use", "give"))
    assert_one_sentence(result.sentence)


@pytest.mark.parametrize("file", [files.TRUNCATED, files.EMPTY, files.TEXT, files.PICKLE])
def test_the_file_info_of_an_unreadable_file_is_its_sentence(server, file):
    result = server.run({"info": node("DAVAE_Inspect", file=f"vae/{file}")})
    assert file in result.sentence
    assert_one_sentence(result.sentence)


@pytest.mark.parametrize("choice", ["vae/absent.safetensors", "input/example.png"])
def test_a_file_that_is_not_offered_is_refused(server, choice):
    result = server.run({"info": node("DAVAE_Inspect", file=choice)})
    assert result.refused is not None and choice in result.sentence
    assert_one_sentence(result.sentence)


def test_an_unknown_mode_is_refused(server):
    graph = {
        "vae": load(files.RANDOM),
        "latent": empty(),
        "image": decode("quick"),
        "saved": save("image"),
    }
    result = server.run(graph)
    assert result.refused is not None and "no mode 'quick'" in result.sentence
    assert_one_sentence(result.sentence)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vae": load(5)}, "Load DA-VAE was given 5 for file, which takes a name from its list"),
        ({"vae": load({"__value__": ["x"]})}, "a list for file"),
        ({"image": decode(samples="x")}, "DA-VAE Decode was given 'x' for samples, which takes a latent"),
        ({"image": decode(mode=None)}, "None for mode"),
        ({"image": {**decode(), "inputs": {**decode()["inputs"], "vae": 5}}}, "5 for vae, which takes an output"),
        ({"saved": node("DAVAE_Inspect", file=None)}, "DA-VAE File Info was given None for file"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_in_a_sentence(server, change, words):
    graph = {
        "vae": load(files.RANDOM),
        "latent": empty(),
        "image": decode(),
        "saved": save("image"),
        **change,
    }
    result = server.run(graph)
    # Newer ComfyUI refuses more of them itself.
    if result.refused is None or "custom_validation_failed" in str(result.refused):
        assert words in result.sentence
        assert_one_sentence(result.sentence)


def test_a_name_that_cannot_be_printed_ends_in_a_sentence(server):
    result = server.run({"info": node("DAVAE_Inspect", file="vae/\ud83d.safetensors")})
    assert result.refused is not None
    assert_one_sentence(result.sentence)


def empty():
    return node("DAVAE_EmptyLatent", width=64, height=64, batch_size=1)


def test_a_draft_from_a_compact_file_points_to_the_stock_vae(server):
    result = server.run(
        {
            "vae": load(files.COMPACT),
            "latent": empty(),
            "draft": decode("draft"),
            "saved": save("draft"),
        }
    )
    assert "compact" in result.sentence and "stock VAE" in result.sentence


@pytest.mark.parametrize("mode", ["full", "tiled", "draft"])
def test_a_latent_of_16_channels_is_refused_with_both_sides_named(server, mode):
    latent = latent_file(server, "sixteen", torch.zeros(1, 16, 8, 8))
    result = server.run(
        {"vae": load(files.RANDOM), "latent": latent, "image": decode(mode), "saved": save("image")}
    )
    assert "[1, 16, 8, 8]" in result.sentence and files.RANDOM in result.sentence
    assert "32 channels" in result.sentence and "DA-VAE Encode" in result.sentence
    assert_one_sentence(result.sentence)


def test_the_stock_decode_refuses_a_latent_of_16_channels_with_a_sentence_too(server):
    result = server.run(
        {
            "vae": load(files.RANDOM),
            "latent": latent_file(server, "stock", torch.zeros(1, 16, 8, 8)),
            "image": node("VAEDecode", samples=["latent", 0], vae=["vae", 0]),
            "saved": save("image"),
        }
    )
    assert "this DA-VAE needs [batch, 32," in result.sentence
    assert_one_sentence(result.sentence)


@pytest.mark.parametrize("decoder", ["DAVAE_Decode", "VAEDecode"])
def test_a_latent_with_nan_is_refused(server, decoder):
    latents = torch.zeros(1, 32, 4, 4)
    latents[0, 5, 1, 2] = torch.nan
    stock = node("VAEDecode", samples=["latent", 0], vae=["vae", 0])
    result = server.run(
        {
            "vae": load(files.RANDOM),
            "latent": latent_file(server, "nan", latents),
            "image": decode() if decoder == "DAVAE_Decode" else stock,
            "saved": save("image"),
        }
    )
    assert "NaN" in result.sentence
    assert_one_sentence(result.sentence)


def test_an_ordinary_vae_in_our_nodes_is_named_with_the_stock_node_to_use(server):
    picture = server.upload(Image.new("RGB", (64, 64)), "plain.png")
    ordinary = {"vae": node("VAELoader", vae_name=files.SD1)}
    encoded = server.run(
        {
            **ordinary,
            "picture": node("LoadImage", image=picture),
            "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
            "saved": node("SaveLatent", samples=["latent", 0], filename_prefix="never"),
        }
    )
    decoded = server.run({**ordinary, "latent": empty(), "image": decode(), "saved": save("image")})
    assert "4 latent channels" in encoded.sentence and "VAE Encode" in encoded.sentence
    assert "latent of 32 channels" in decoded.sentence and "4 latent channels" in decoded.sentence
    assert all("Load DA-VAE" in result.sentence for result in (encoded, decoded))
    assert_one_sentence(encoded.sentence)
    assert_one_sentence(decoded.sentence)


def test_a_picture_smaller_than_a_latent_cell_is_refused(server):
    result = run_picture(server, Image.new("RGB", (1, 1)), "tiny.png")
    assert "1x1 pixels" in result.sentence and "at least 16" in result.sentence


def test_the_stock_encode_refuses_such_a_picture_with_the_same_sentence(server):
    stock = node("VAEEncode", pixels=["picture", 0], vae=["vae", 0])
    result = run_picture(server, Image.new("RGB", (1, 1)), "tiny.png", latent=stock)
    assert "1x1 pixels" in result.sentence and "at least 16" in result.sentence


def test_a_picture_of_one_row_of_cells_is_encoded_and_decoded(server):
    result = run_picture(server, Image.new("RGB", (1750, 20), "teal"), "strip.png")
    assert server.picture(result.outputs, "saved").size == (1744, 16)


def test_sixteen_bits_and_transparency_are_read(server):
    deep = Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16))
    clear = Image.new("RGBA", (64, 64), (200, 100, 50, 128))
    for picture, name in ((deep, "deep.png"), (clear, "clear.png")):
        result = run_picture(server, picture, name)
        assert server.picture(result.outputs, "saved").size == (64, 64)


def test_a_text_file_named_png_fails_and_the_next_run_works(server):
    failed = run_picture(server, b"this is no picture", "text.png")
    assert failed.error or failed.refused
    assert run_picture(server, Image.new("RGB", (32, 32)), "after.png").outputs


def test_an_interrupt_in_the_middle_ends_the_run_and_the_next_one_works(server):
    graph = {
        "vae": load(files.RANDOM),
        "latent": node("DAVAE_EmptyLatent", width=768, height=768, batch_size=1),
        "image": decode("tiled", tile_size=128),
        "saved": save("image"),
    }
    assert server.run(graph, interrupt_at="image").interrupted
    graph["latent"] = empty()
    assert server.run(graph).outputs


def test_an_odd_width_is_refused_with_the_nearest_that_work(server):
    odd = node("DAVAE_EmptyLatent", width=1000, height=1024, batch_size=1)
    result = server.run(
        {"latent": odd, "saved": node("SaveLatent", samples=["latent", 0], filename_prefix="never")}
    )
    assert "width of 1000" in result.sentence and "992 or 1008" in result.sentence
    assert_one_sentence(result.sentence)


def test_a_link_to_an_input_that_is_not_there_is_refused_in_a_sentence(server):
    graph = {
        "vae": load(files.RANDOM),
        "latent": empty(),
        "image": {**decode(), "inputs": {**decode()["inputs"], "__class__": ["vae", 0]}},
        "saved": save("image"),
    }
    sentence = server.run(graph).sentence
    assert sentence == "DA-VAE Decode has no input called '__class__': leave it out."
