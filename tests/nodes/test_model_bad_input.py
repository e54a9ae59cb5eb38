"""Models, adapters, latents and prompts that do not belong together: one sentence that names both sides."""

import pytest
import torch

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import (
    NO_ADAPTER,
    decode,
    empty_latent,
    ksampler,
    load,
    load_model,
    node,
    prompts,
    sampler,
    save,
)
from tests.nodes.test_bad_input import assert_one_sentence, latent_file


def outcome(server, graph):
    """What becomes of this graph when its latent is kept."""
    kept = node("SaveLatent", samples=["drawn", 0], filename_prefix="never")
    return server.run({**graph, "kept": kept})


def failure(server, graph):
    """The sentence with which this graph fails; it must."""
    sentence = outcome(server, graph).sentence
    assert_one_sentence(sentence)
    return sentence


def drawing(model, latent=None, sampled=None):
    return {
        **prompts(),
        "model": model,
        "latent": latent or empty_latent(),
        "drawn": sampled or sampler(),
    }


@pytest.mark.parametrize(
    ("base", "adapter", "words"),
    [
        (files.OTHER_BASE, files.ADAPTER, "trained on another base"),
        (files.BASE, files.LORA_DIFFUSERS, "is a LoRA, not a DA-VAE adapter"),
        (files.BASE, "misplaced.safetensors", "is a DA-VAE, not a DA-VAE adapter"),
        (files.BASE, files.TRUNCATED_ADAPTER, "cut short"),
        (files.BASE, files.ADAPTER_OF_MORE_BLOCKS, "which this base does not have"),
        (files.MERGED, files.ADAPTER, "is a DA-VAE model already"),
        (files.DAMAGED, NO_ADAPTER, "description is damaged"),
        (files.BLOCK_QUANTISED, files.ADAPTER, "quantised in blocks"),
        ("absent.safetensors", files.ADAPTER, "has no base 'absent.safetensors'"),
    ],
)
def test_a_wrong_pair_of_base_and_adapter_names_the_files(server, base, adapter, words):
    result = outcome(server, drawing(load_model(base, adapter)))
    assert (result.refused is not None) == (base == "absent.safetensors")
    assert words in result.sentence
    assert base in result.sentence or adapter in result.sentence
    if "another base" in words or "already" in words:
        assert base in result.sentence and adapter in result.sentence
    assert_one_sentence(result.sentence)


def test_an_adapter_of_another_size_than_the_latent_is_named_with_both_sizes(server):
    large = empty_latent(2048, 2048)
    sentence = failure(server, drawing(load_model(files.BASE, files.ADAPTER_1024), large))
    assert "2048x2048" in sentence and "1024x1024" in sentence and files.ADAPTER_1024 in sentence


def test_other_aspect_ratios_of_a_trained_size_are_drawn(server):
    wide = empty_latent(1344, 768)
    graph = drawing(load_model(files.BASE, files.ADAPTER_1024), wide, sampler(steps=1, cfg=1.0))
    assert server.draw(graph, "drawn")[0].shape == (1, 32, 48, 84)


@pytest.mark.parametrize("make", [sampler, ksampler], ids=["ours", "KSampler"])
def test_a_latent_of_16_channels_is_refused_by_both_samplers(server, make):
    latent = latent_file(server, "ordinary", torch.ones(1, 16, 6, 4))
    sentence = failure(server, drawing(load_model(files.BASE), latent, make()))
    assert "16" in sentence and "32" in sentence and "DA-VAE Encode" in sentence


def test_a_da_vae_latent_and_an_ordinary_model_are_both_named(server):
    stock = node("UNETLoader", unet_name=files.BASE, weight_dtype="default")
    sentence = failure(server, drawing(stock))
    assert "an ordinary model of 16 latent channels" in sentence and "[1, 32, 6, 4]" in sentence


def test_an_adapter_on_a_model_that_is_not_widened_is_not_taken_for_ours(server):
    graph = drawing(
        node("LoraLoaderModelOnly", model=["plain", 0], lora_name=files.ADAPTER, strength_model=1.0)
    )
    graph["plain"] = node("UNETLoader", unet_name=files.BASE, weight_dtype="default")
    assert "Load DA-VAE SD3.5 Model" in failure(server, graph)


def test_a_latent_of_another_da_vae_than_the_adapter_s_is_refused(server):
    graph = {
        **drawing(load_model(files.BASE, files.ADAPTER_OF_VAE)),
        "vae": load(codecs.RANDOM),
        "picture": node("EmptyImage", width=64, height=96, batch_size=1, color=1234567),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
    }
    sentence = failure(server, graph)
    assert codecs.RANDOM in sentence and files.ADAPTER_OF_VAE in sentence


def test_a_drawn_latent_is_not_decoded_by_another_da_vae_than_the_adapter_s(server):
    graph = {
        **drawing(load_model(files.BASE, files.ADAPTER_OF_VAE)),
        "vae": load(codecs.RANDOM),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
    }
    sentence = server.run(graph).sentence
    assert codecs.RANDOM in sentence and files.ADAPTER_OF_VAE in sentence
    assert_one_sentence(sentence)


def test_an_encoded_latent_is_not_decoded_by_another_da_vae(server):
    graph = {
        "first": load(codecs.RANDOM),
        "vae": load("miniature (bundled)"),
        "picture": node("EmptyImage", width=64, height=96, batch_size=1, color=1234567),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["first", 0]),
        "image": decode(),
        "saved": save("image"),
    }
    assert codecs.RANDOM in server.run(graph).sentence


def test_a_whole_and_a_compact_file_of_one_codec_share_their_latents(server):
    graph = {
        "first": load(codecs.RANDOM),
        "vae": load(codecs.COMPACT),
        "picture": node("EmptyImage", width=64, height=96, batch_size=1, color=1234567),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["first", 0]),
        "image": decode(),
        "saved": save("image"),
    }
    assert server.run(graph).outputs


def test_a_prompt_of_other_text_encoders_is_refused_with_both_widths(server):
    graph = drawing(load_model(files.OTHER_WIDTHS))
    sentence = failure(server, graph)
    assert "4096 wide (1344 pooled)" in sentence and "64 (48 pooled)" in sentence
    assert "TripleCLIPLoader" in sentence


def test_more_tokens_than_the_model_has_positions_for_are_refused(server):
    tall = empty_latent(64, 32 * (files.POSITIONS + 1))
    sentence = failure(server, drawing(load_model(files.BASE), tall))
    assert "73 tokens" in sentence and "positions for 72" in sentence


def test_an_interrupt_ends_the_drawing_and_the_next_one_works(server):
    graph = drawing(
        load_model(files.BASE, files.ADAPTER), empty_latent(1024, 1024), sampler(steps=500)
    )
    kept = node("SaveLatent", samples=["drawn", 0], filename_prefix="interrupted")
    assert server.run({**graph, "kept": kept}, interrupt_at="drawn").interrupted
    graph = drawing(load_model(files.BASE, files.ADAPTER))
    assert server.draw(graph, "drawn")[0].isfinite().all()


@pytest.mark.parametrize("changed", [{"scheduler": "of no kind"}, {"sampler_name": "of no kind"}])
def test_a_choice_that_is_not_offered_is_refused(server, changed):
    result = outcome(server, drawing(load_model(files.BASE), sampled=sampler(**changed)))
    assert result.refused is not None and "'of no kind'" in result.sentence
    assert_one_sentence(result.sentence)
