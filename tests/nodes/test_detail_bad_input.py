"""What does not belong to a detail adapter, or to a locked base: one sentence that names both sides."""

import pytest
import torch

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import (
    CONDITIONS,
    NO_ADAPTER,
    detail_sampler,
    empty_latent,
    ksampler,
    load,
    load_model,
    lock_base,
    node,
    prompts,
    sampler,
)
from tests.nodes.test_bad_input import latent_file
from tests.nodes.test_model_bad_input import failure

BASES = {"DA-VAE Detail Sampler": detail_sampler(), "Lock DA-VAE Base": lock_base()}
"""The nodes that take a base."""


def a_base(server, *shape, spread=0.7):
    """A latent of that shape as a file, 16 channels unless it says otherwise."""
    torch.manual_seed(2)
    shape = shape or (1, 16, 6, 4)
    name = "base_" + "_".join(map(str, (*shape, spread)))
    return latent_file(server, name, torch.randn(shape) * spread)


def graph(server, drawn=None, adapter=files.DETAIL, latent=None):
    return {
        **prompts(),
        "model": load_model(files.BASE, adapter),
        "latent": latent or a_base(server),
        "drawn": drawn or detail_sampler(),
    }


@pytest.mark.parametrize("adapter", [files.ADAPTER, NO_ADAPTER])
def test_the_detail_sampler_names_a_model_that_draws_both(server, adapter):
    sentence = failure(server, graph(server, adapter=adapter))
    assert "needs a detail adapter" in sentence and "DA-VAE Sampler" in sentence
    assert files.BASE in sentence and (adapter == NO_ADAPTER or adapter in sentence)


@pytest.mark.parametrize("make", [ksampler, sampler], ids=["KSampler", "ours"])
def test_a_detail_adapter_in_a_sampler_that_draws_both_is_named(server, make):
    sentence = failure(server, graph(server, make(), latent=empty_latent()))
    assert files.DETAIL in sentence and "draws the detail alone" in sentence
    assert "DA-VAE Detail Sampler" in sentence and "Lock DA-VAE Base" in sentence


@pytest.mark.parametrize("make", [ksampler, sampler], ids=["KSampler", "ours"])
def test_a_base_straight_in_a_sampler_with_a_detail_adapter_is_shown_the_lock(server, make):
    assert "Lock DA-VAE Base" in failure(server, graph(server, make()))


def test_a_detail_adapter_in_a_custom_sampler_is_named(server):
    custom = {
        "noise": node("RandomNoise", noise_seed=7),
        "guider": node("CFGGuider", model=["model", 0], cfg=2.5, **CONDITIONS),
        "sampler": node("KSamplerSelect", sampler_name="uni_pc"),
        "sigmas": node(
            "BasicScheduler", model=["model", 0], scheduler="simple", steps=3, denoise=1.0
        ),
    }
    drawn = node(
        "SamplerCustomAdvanced",
        latent_image=["latent", 0],
        **{name: [name, 0] for name in custom},
    )
    sentence = failure(server, {**graph(server, drawn, latent=empty_latent()), **custom})
    assert files.DETAIL in sentence and "Lock DA-VAE Base" in sentence


def test_a_merged_detail_model_of_the_stock_loader_is_refused_by_ksampler_too(server):
    wanted = graph(server, ksampler(), latent=empty_latent())
    wanted["model"] = node("UNETLoader", unet_name=files.DETAIL_MERGED, weight_dtype="default")
    sentence = failure(server, wanted)
    assert "a merged file" in sentence and "Lock DA-VAE Base" in sentence


def refusal(server, by, latent=None, adapter=files.DETAIL, **further):
    """What this one of BASES says to the latent; `further` nodes stand beside or in the place of the others."""
    wanted = {**graph(server, BASES[by], adapter, latent), **further}
    if by == "Lock DA-VAE Base":
        wanted |= {"lock": BASES[by], "drawn": ksampler(model="lock", latent_image=["lock", 1])}
    return failure(server, wanted)


@pytest.mark.parametrize("by", BASES)
def test_an_ordinary_model_is_named_with_the_latent(server, by):
    ordinary = node("UNETLoader", unet_name=files.BASE, weight_dtype="default")
    sentence = refusal(server, by, model=ordinary)
    assert by in sentence
    assert "an ordinary model of 16 latent channels" in sentence and "[1, 16, 6, 4]" in sentence


@pytest.mark.parametrize("by", BASES)
@pytest.mark.parametrize("shape", [(1, 4, 6, 4), (1, 128, 6, 4)], ids=["SDXL", "FLUX.2"])
def test_a_base_of_other_channels_is_named_with_the_model(server, by, shape):
    sentence = refusal(server, by, a_base(server, *shape))
    assert str(list(shape)) in sentence and files.DETAIL in sentence
    assert "base of 16 channels" in sentence


@pytest.mark.parametrize("by", BASES)
def test_a_base_of_flux_is_known_by_its_spread(server, by):
    sentence = refusal(server, by, a_base(server, 1, 16, 6, 4, spread=2.8))
    assert "FLUX" in sentence and files.DETAIL in sentence


@pytest.mark.parametrize("by", BASES)
def test_a_latent_of_a_da_vae_of_another_layout_is_named_with_the_model(server, by):
    picture = node("EmptyImage", width=64, height=96, batch_size=1, color=1234567)
    encoded = node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0])
    sentence = refusal(server, by, encoded, vae=load(codecs.OTHER_LAYOUT), picture=picture)
    assert "[1, 16, 6, 4]" in sentence and by in sentence
    assert codecs.OTHER_LAYOUT in sentence and files.DETAIL in sentence


@pytest.mark.parametrize("latent", ["encoded", "parts"], ids=["whole", "base"])
def test_a_latent_of_another_da_vae_than_the_adapter_s_is_named_with_it(server, latent):
    found = {
        **graph(server, detail_sampler(latent=latent), adapter=files.DETAIL_OF_VAE),
        "vae": load(codecs.RANDOM),
        "picture": node("EmptyImage", width=64, height=96, batch_size=1, color=1234567),
        "encoded": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
        "parts": node("DAVAE_SplitLatent", samples=["encoded", 0]),
    }
    sentence = failure(server, found)
    assert codecs.RANDOM in sentence and files.DETAIL_OF_VAE in sentence


@pytest.mark.parametrize("by", BASES)
def test_a_base_of_another_size_is_named_with_both_sizes(server, by):
    sentence = refusal(server, by, a_base(server, 1, 16, 128, 128), adapter=files.DETAIL_1024)
    assert "2048x2048" in sentence and "1024x1024" in sentence and files.DETAIL_1024 in sentence


@pytest.mark.parametrize("by", BASES)
def test_an_empty_latent_is_no_base(server, by):
    sentence = refusal(server, by, empty_latent())
    assert "empty latent" in sentence and files.DETAIL in sentence


def test_a_locked_sampler_that_gets_an_empty_latent_says_where_it_finds_a_base(server):
    wanted = graph(server, ksampler(model="lock", latent_image=["empty", 0]))
    sentence = failure(server, {**wanted, "lock": lock_base(), "empty": empty_latent()})
    assert "empty latent" in sentence and "Lock DA-VAE Base" in sentence


@pytest.mark.parametrize("by", BASES)
def test_a_base_with_nan_is_refused(server, by):
    base = torch.randn(1, 16, 6, 4)
    base[0, 3, 2, 1] = torch.nan
    assert "NaN" in refusal(server, by, latent_file(server, "base_nan", base))


def test_a_strength_below_1_needs_a_detail_to_keep(server):
    sentence = failure(server, graph(server, detail_sampler(strength=0.5)))
    assert "16 channels" in sentence and "strength 0.5" in sentence


def test_guidance_needs_a_negative_prompt(server):
    sentence = failure(server, graph(server, detail_sampler(cfg=3.0)))
    assert "cfg 3" in sentence and "negative prompt" in sentence
