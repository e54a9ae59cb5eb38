"""DA-VAE Detail Sampler and Lock DA-VAE Base on a real server: the base comes back bit for bit."""

import pytest
import torch
from PIL import Image

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import (
    CONDITIONS,
    decode,
    detail_sampler,
    empty_latent,
    ksampler,
    load,
    load_model,
    lock_base,
    node,
    prompts,
    sampler,
    save,
)


def adapted(adapter=files.DETAIL):
    """Prompts, and the tiny model with its detail adapter as node "model"."""
    return {**prompts(), "model": load_model(files.BASE, adapter)}


def stock_base(width=32, height=48):
    """A base that the ordinary model draws, as node "latent": 32 x 48 pixels of it are 64 x 96 of ours."""
    return {
        "plain": node("UNETLoader", unet_name=files.BASE, weight_dtype="default"),
        "empty": node("EmptySD3LatentImage", width=width, height=height, batch_size=1),
        "latent": ksampler(model="plain", latent="empty"),
    }


def picture(server):
    """An encoded picture as node "latent"."""
    colours = Image.radial_gradient("L").resize((64, 96)).convert("RGB")
    return {
        "vae": load(codecs.RANDOM),
        "picture": node("LoadImage", image=server.upload(colours, "gradient.png")),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
    }


@pytest.fixture(scope="module")
def drawn(server):
    """The ordinary model's base, and the latent that the detail sampler made of it."""
    graph = {**adapted(), **stock_base(), "drawn": detail_sampler()}
    return server.draw(graph, "latent", "drawn")


def test_what_the_stock_model_drew_comes_back_bit_for_bit_with_a_detail(drawn):
    base, whole = drawn
    assert base.shape == (1, 16, 6, 4) and whole.shape == (1, 32, 6, 4)
    assert torch.equal(whole[:, :16], base)
    assert whole.isfinite().all() and whole[:, 16:].std() > 0.1


def test_the_widened_model_s_base_comes_back_bit_for_bit_too(server):
    graph = {
        **adapted(),
        "untouched": load_model(files.BASE),
        "empty": empty_latent(),
        "latent": ksampler(model="untouched", latent="empty"),
        "drawn": detail_sampler(),
    }
    base, whole = server.draw(graph, "latent", "drawn")
    assert torch.equal(whole[:, :16], base[:, :16])
    assert not torch.equal(whole[:, 16:], base[:, 16:])


def test_the_drawn_detail_depends_on_base_prompt_and_seed_but_not_on_the_old_detail(server, drawn):
    _, whole = drawn
    graph = {
        **adapted(),
        **stock_base(),
        "more": node("LatentMultiply", samples=["latent", 0], multiplier=1.2),
        "zeros": node("LatentMultiply", samples=["latent", 0], multiplier=0.0),
        "joined": node("DAVAE_JoinLatent", base=["latent", 0], detail=["latent", 0]),
        "joined_zeros": node("DAVAE_JoinLatent", base=["latent", 0], detail=["zeros", 0]),
        "other_base": detail_sampler(latent="more"),
        "other_prompt": detail_sampler(positive=["negative", 0]),
        "other_seed": detail_sampler(seed=8),
        "with_detail": detail_sampler(latent="joined"),
        "with_zeros": detail_sampler(latent="joined_zeros"),
    }
    names = ("other_base", "other_prompt", "other_seed", "with_detail", "with_zeros")
    base, prompt, seed, with_detail, with_zeros = server.draw(graph, *names)
    for changed in (base, prompt, seed):
        assert (changed[:, 16:] - whole[:, 16:]).abs().max() > 1e-3
    assert torch.equal(with_detail, whole) and torch.equal(with_zeros, whole)


def test_a_lower_strength_keeps_more_of_a_latent_s_own_detail(server):
    graph = {
        **adapted(),
        **picture(server),
        **{f"at_{tenths}": detail_sampler(strength=tenths / 10) for tenths in (0, 1, 5)},
    }
    start, nothing, little, half = server.draw(graph, "latent", "at_0", "at_1", "at_5")
    assert torch.equal(nothing, start)
    assert torch.equal(little[:, :16], start[:, :16]) and torch.equal(half[:, :16], start[:, :16])
    assert 0 < (little - start).abs().mean() < (half - start).abs().mean()


def test_guidance_counts_when_it_is_asked_for(server, drawn):
    _, whole = drawn
    negative = ["negative", 0]
    graph = {
        **adapted(),
        **stock_base(),
        "guided": detail_sampler(cfg=3.0, negative=negative),
        "not_needed": detail_sampler(negative=negative),
    }
    guided, not_needed = server.draw(graph, "guided", "not_needed")
    assert torch.equal(not_needed, whole)
    assert torch.equal(guided[:, :16], whole[:, :16]) and not torch.equal(guided, whole)


def test_a_batch_s_numbers_decide_its_noise(server):
    graph = {
        **adapted(),
        **stock_base(),
        "three": node("RepeatLatentBatch", samples=["latent", 0], amount=3),
        "third": node("LatentFromBatch", samples=["three", 0], batch_index=2, length=1),
        "all": detail_sampler(latent="three"),
        "alone": detail_sampler(latent="third"),
    }
    every, alone = server.draw(graph, "all", "alone")
    torch.testing.assert_close(alone[0], every[2], atol=1e-4, rtol=0)
    assert (every[0] - every[2]).abs().max() > 0.1


def mask_of_the_left_half():
    return {
        "left": node("SolidMask", value=1.0, width=32, height=96),
        "nowhere": node("SolidMask", value=0.0, width=64, height=96),
        "mask": node(
            "MaskComposite",
            destination=["nowhere", 0],
            source=["left", 0],
            x=0,
            y=0,
            operation="add",
        ),
        "masked": node("SetLatentNoiseMask", samples=["latent", 0], mask=["mask", 0]),
    }


def test_a_mask_keeps_the_detail_of_a_da_vae_latent_outside_it(server):
    graph = {
        **adapted(),
        **picture(server),
        **mask_of_the_left_half(),
        "drawn": detail_sampler(latent="masked"),
    }
    start, found = server.draw(graph, "latent", "drawn")
    assert torch.equal(found[:, :16], start[:, :16])
    torch.testing.assert_close(found[..., 2:], start[..., 2:], atol=1e-4, rtol=0)
    assert (found[..., :2] - start[..., :2]).abs().max() > 0.1


def test_the_mask_of_a_base_that_has_no_detail_does_not_count(server, drawn):
    _, whole = drawn
    graph = {
        **adapted(),
        **stock_base(),
        **mask_of_the_left_half(),
        "drawn": detail_sampler(latent="masked"),
    }
    assert torch.equal(server.draw(graph, "drawn")[0], whole)


def test_previews_show_the_draft_before_the_first_step_and_one_after_each(server):
    kept = node("SaveLatent", samples=["drawn", 0], filename_prefix="preview")
    graph = {**adapted(), **picture(server), "drawn": detail_sampler(), "kept": kept}
    previews = server.run(graph).previews
    assert len(previews) == 1 + 3
    darkest, brightest = previews[0].convert("L").getextrema()
    assert darkest < brightest


def test_an_interrupt_ends_it_and_the_next_run_works(server):
    kept = node("SaveLatent", samples=["drawn", 0], filename_prefix="interrupted")
    graph = {**adapted(), **picture(server), "kept": kept}
    long = {**graph, "drawn": detail_sampler(steps=5000)}
    assert server.run(long, interrupt_at="drawn").interrupted
    assert server.run({**graph, "drawn": detail_sampler()}).error is None


def test_a_lora_on_top_of_the_detail_adapter_counts(server, drawn):
    _, whole = drawn
    lora = node(
        "LoraLoaderModelOnly",
        model=["model", 0],
        lora_name=files.LORA_DIFFUSERS,
        strength_model=1.0,
    )
    graph = {**adapted(), **stock_base(), "lora": lora, "drawn": detail_sampler(model="lora")}
    assert not torch.equal(server.draw(graph, "drawn")[0], whole)


def test_a_merged_file_draws_the_same_through_the_stock_loader(server, drawn):
    _, whole = drawn
    graph = {
        **prompts(),
        "model": node("UNETLoader", unet_name=files.DETAIL_MERGED, weight_dtype="default"),
        **stock_base(),
        "drawn": detail_sampler(),
    }
    torch.testing.assert_close(server.draw(graph, "drawn")[0], whole, atol=1e-4, rtol=0)


def test_the_loader_says_what_a_detail_adapter_does(server):
    saved = node("SaveLatent", samples=["lock", 1], filename_prefix="never")
    graph = {**adapted(), **picture(server), "lock": lock_base(), "saved": saved}
    told = server.run(graph).outputs["model"]["text"][0]
    assert told == "Draws the detail alone: 10 steps, cfg 1, shift 3 (set)"


# Lock DA-VAE Base


@pytest.mark.parametrize("make", [ksampler, sampler], ids=["KSampler", "ours"])
@pytest.mark.parametrize("adapter", [files.DETAIL, files.ADAPTER])
def test_a_locked_sampler_gives_the_base_back_bit_for_bit(server, adapter, make):
    graph = {
        **adapted(adapter),
        **stock_base(),
        "lock": lock_base(),
        "drawn": make(model="lock", latent_image=["lock", 1]),
    }
    base, whole = server.draw(graph, "latent", "drawn")
    assert torch.equal(whole[:, :16], base)
    assert whole.isfinite().all() and whole[:, 16:].std() > 0.1


def test_a_locked_sampler_set_like_the_detail_sampler_draws_the_same(server, drawn):
    _, whole = drawn
    locked = sampler(
        model="lock", latent_image=["lock", 1], cfg=1.0, scheduler="da-vae", denoise=1.0
    )
    graph = {**adapted(), **stock_base(), "lock": lock_base(), "drawn": locked}
    assert torch.equal(server.draw(graph, "drawn")[0], whole)


def test_custom_samplers_keep_the_base_in_both_outputs(server):
    graph = {
        **adapted(),
        **picture(server),
        "lock": lock_base(),
        "noise": node("RandomNoise", noise_seed=7),
        "guider": node("CFGGuider", model=["lock", 0], cfg=2.5, **CONDITIONS),
        "sampler": node("SamplerDPMPP_2M_SDE", solver_type="midpoint", eta=1.0, s_noise=1.0, noise_device="cpu"),
        "sigmas": node(
            "BasicScheduler", model=["lock", 0], scheduler="simple", steps=3, denoise=1.0
        ),
        "drawn": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["lock", 1],
        ),
        "denoised": node("LatentMultiply", samples=["drawn", 1], multiplier=1.0),
    }  # fmt: skip
    start, output, denoised = server.draw(graph, "latent", "drawn", "denoised")
    assert torch.equal(output[:, :16], start[:, :16])
    # ComfyUI takes this one from the sampler's space back itself, which rounds.
    torch.testing.assert_close(denoised[:, :16], start[:, :16], atol=1e-5, rtol=0)


def test_a_schedule_in_two_parts_draws_the_same(server):
    common = {**CONDITIONS, "steps": 3, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple"}
    common |= {"model": ["lock", 0], "noise_seed": 7}
    first = {
        "start_at_step": 0,
        "end_at_step": 2,
        "add_noise": "enable",
        "return_with_leftover_noise": "enable",
    }
    rest = {
        "start_at_step": 2,
        "end_at_step": 99,
        "add_noise": "disable",
        "return_with_leftover_noise": "disable",
    }
    graph = {
        **adapted(),
        **picture(server),
        "lock": lock_base(),
        "first": node("KSamplerAdvanced", latent_image=["lock", 1], **common, **first),
        "rest": node("KSamplerAdvanced", latent_image=["first", 0], **common, **rest),
        "at_once": ksampler(model="lock", latent_image=["lock", 1]),
    }
    start, rest, at_once = server.draw(graph, "latent", "rest", "at_once")
    assert torch.equal(rest[:, :16], start[:, :16])
    torch.testing.assert_close(rest, at_once, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "patch",
    [
        node(
            "SkipLayerGuidanceSD3",
            model=["lock", 0],
            layers="1",
            scale=3.0,
            start_percent=0.0,
            end_percent=1.0,
        ),
        node("RescaleCFG", model=["lock", 0], multiplier=0.7),
        node("ModelSamplingSD3", model=["lock", 0], shift=5.0),
        node("TorchCompileModel", model=["lock", 0], backend="cudagraphs"),
    ],
    ids=lambda patch: patch["class_type"],
)
def test_other_patches_work_on_a_locked_model(server, patch):
    graph = {
        **adapted(),
        **picture(server),
        "lock": lock_base(),
        "patched": patch,
        "drawn": ksampler(model="patched", latent_image=["lock", 1]),
    }
    start, found = server.draw(graph, "latent", "drawn")
    assert torch.equal(found[:, :16], start[:, :16]) and found.isfinite().all()


def test_an_area_s_prompt_works_on_a_locked_model(server):
    area = node(
        "ConditioningSetAreaPercentage",
        conditioning=["negative", 0],
        width=0.5,
        height=1.0,
        x=0.0,
        y=0.0,
        strength=1.0,
    )
    both = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["area", 0])
    graph = {
        **adapted(),
        **picture(server),
        "lock": lock_base(),
        "area": area,
        "both": both,
        "drawn": ksampler(model="lock", latent_image=["lock", 1], positive=["both", 0]),
    }
    start, found = server.draw(graph, "latent", "drawn")
    assert torch.equal(found[:, :16], start[:, :16]) and found.isfinite().all()


def test_the_da_vae_decodes_what_was_drawn_on_a_stock_base(server):
    graph = {
        **adapted(),
        **stock_base(),
        "drawn": detail_sampler(),
        "vae": load(codecs.RANDOM),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
    }
    assert server.picture(server.run(graph).outputs, "saved").size == (64, 96)
