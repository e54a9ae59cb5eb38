"""ComfyUI's own model, LoRA and sampler nodes on our MODEL: it is an ordinary one."""

import shutil

import pytest
import torch
from PIL import Image

from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.graphs import (
    CONDITIONS,
    SETTINGS,
    empty_latent,
    ksampler,
    load,
    load_model,
    node,
    prompts,
    sampler,
)


def adapted():
    """Prompts, the tiny model with its adapter as node "model", and an empty latent."""
    return {
        **prompts(),
        "model": load_model(files.BASE, files.ADAPTER),
        "latent": empty_latent(),
    }


def lora(name, model="model", strength=1.0):
    return node("LoraLoaderModelOnly", model=[model, 0], lora_name=name, strength_model=strength)


@pytest.fixture(scope="module")
def drawn(server):
    """What the plain KSampler draws with our MODEL."""
    return server.draw({**adapted(), "drawn": ksampler()}, "drawn")[0]


def test_ksampler_draws_base_and_detail_that_the_prompt_decides(server, drawn):
    assert drawn.shape == (1, 32, 6, 4) and drawn.isfinite().all()
    assert drawn[:, :16].std() > 0.1 and drawn[:, 16:].std() > 0.1
    graph = {**adapted(), "drawn": ksampler(positive=["negative", 0])}
    assert not torch.allclose(server.draw(graph, "drawn")[0], drawn, atol=1e-3)


def test_our_sampler_with_a_stock_schedule_draws_exactly_what_ksampler_draws(server, drawn):
    graph = {**adapted(), "drawn": sampler()}
    assert torch.equal(server.draw(graph, "drawn")[0], drawn)


def test_ksampler_advanced_draws_the_same_in_two_parts(server, drawn):
    common = {**CONDITIONS, "steps": 3, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple"}
    common |= {"model": ["model", 0], "noise_seed": 7}
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
        "first": node("KSamplerAdvanced", latent_image=["latent", 0], **common, **first),
        "rest": node("KSamplerAdvanced", latent_image=["first", 0], **common, **rest),
    }
    torch.testing.assert_close(server.draw(graph, "rest")[0], drawn, atol=1e-4, rtol=0)


def test_sampler_custom_advanced_draws_the_same_and_both_its_outputs_are_whole_latents(
    server, drawn
):
    graph = {
        **adapted(),
        "noise": node("RandomNoise", noise_seed=7),
        "guider": node("CFGGuider", model=["model", 0], cfg=2.5, **CONDITIONS),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node(
            "BasicScheduler", model=["model", 0], scheduler="simple", steps=3, denoise=1.0
        ),
        "drawn": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
        "denoised": node("LatentMultiply", samples=["drawn", 1], multiplier=1.0),
    }
    output, denoised = server.draw(graph, "drawn", "denoised")
    torch.testing.assert_close(output, drawn, atol=1e-5, rtol=0)
    torch.testing.assert_close(denoised, drawn, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("shift", "same"), [(4.0, True), (3.0, False)])
def test_the_adapter_s_shift_is_in_the_model_and_model_sampling_sd3_replaces_it(
    server, drawn, shift, same
):
    graph = {
        **adapted(),
        "shifted": node("ModelSamplingSD3", model=["model", 0], shift=shift),
        "drawn": ksampler(model="shifted"),
    }
    assert torch.equal(server.draw(graph, "drawn")[0], drawn) == same


def test_an_ordinary_lora_goes_on_top_of_the_adapter_in_both_key_styles(server, drawn):
    graph = {
        **adapted(),
        "diffusers": lora(files.LORA_DIFFUSERS),
        "kohya": lora(files.LORA_KOHYA),
        "off": lora(files.LORA_DIFFUSERS, strength=0.0),
        "first": lora(files.LORA_DIFFUSERS, strength=0.5),
        "second": lora(files.LORA_KOHYA, model="first", strength=0.5),
        **{
            f"drawn_{name}": ksampler(model=name)
            for name in ("diffusers", "kohya", "off", "second")
        },
    }
    names = ("drawn_diffusers", "drawn_kohya", "drawn_off", "drawn_second")
    diffusers, kohya, off, two = server.draw(graph, *names)
    assert (diffusers - drawn).abs().max() > 0.01
    assert torch.equal(kohya, diffusers)
    assert torch.equal(off, drawn)
    torch.testing.assert_close(two, diffusers, atol=1e-4, rtol=0)


def test_a_lora_s_parts_on_the_edge_layers_count_as_on_the_pretrained_model(server, drawn):
    """They are as narrow as the base; ComfyUI would leave them out with a line in its log."""
    names = (files.LORA_EDGES, files.LORA_EDGES_DIFF, files.LORA_EDGES_WIDE)
    graph = {
        **adapted(),
        **{f"lora_{i}": lora(name) for i, name in enumerate(names)},
        **{f"drawn_{i}": ksampler(model=f"lora_{i}") for i in range(len(names))},
    }
    before = server.read_log().count("SHAPE MISMATCH")
    kohya, differences, wide = server.draw(graph, *(f"drawn_{i}" for i in range(len(names))))
    assert (wide - drawn).abs().max() > 0.01
    torch.testing.assert_close(kohya, wide, atol=1e-3, rtol=0)
    torch.testing.assert_close(differences, wide, atol=1e-3, rtol=0)
    assert server.read_log().count("SHAPE MISMATCH") == before


@pytest.mark.parametrize(
    ("base", "first", "second", "told"),
    [
        (files.BASE, files.ADAPTER, files.ADAPTER, 1),
        (files.MERGED, None, files.ADAPTER, 1),
        (files.BASE, files.ADAPTER, files.LORA_KOHYA, 0),
        (files.BASE, None, files.ADAPTER, 0),
    ],
    ids=["twice", "on a merged one", "an ordinary LoRA", "once, as a LoRA"],
)
def test_an_adapter_that_is_on_the_model_twice_is_a_warning(server, base, first, second, told):
    model = load_model(base) if first is None else load_model(base, first)
    graph = {**adapted(), "model": model, "again": lora(second), "drawn": ksampler(model="again")}
    before = server.read_log().count("has a DA-VAE adapter on it more than once")
    server.draw(graph, "drawn")
    assert server.read_log().count("has a DA-VAE adapter on it more than once") == before + told


def test_an_area_that_begins_outside_the_latent_is_one_sentence_and_one_inside_draws(server):
    def graph(x):
        area = {"width": 64, "height": 96, "x": x, "y": 0, "strength": 1.0}
        return {
            **adapted(),
            "latent": empty_latent(width=128),
            "area": node("ConditioningSetArea", conditioning=["positive", 0], **area),
            "drawn": ksampler(positive=["area", 0]),
            "kept": node("SaveLatent", samples=["drawn", 0], filename_prefix="area"),
        }

    refused = server.run(graph(x=64)).sentence
    assert "begins at x 64 and y 0, where the latent of 8 x 6 cells has ended" in refused
    assert server.run(graph(x=32)).error is None


def test_the_adapter_is_a_stock_lora_for_the_widened_model(server, drawn):
    graph = {
        **adapted(),
        "model": load_model(files.BASE),
        "adapted": lora(files.ADAPTER),
        "shifted": node("ModelSamplingSD3", model=["adapted", 0], shift=4.0),
        "drawn": ksampler(model="shifted"),
    }
    torch.testing.assert_close(server.draw(graph, "drawn")[0], drawn, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "patch",
    [
        node(
            "SkipLayerGuidanceSD3",
            model=["model", 0],
            layers="1",
            scale=3.0,
            start_percent=0.0,
            end_percent=1.0,
        ),
        node("CFGZeroStar", model=["model", 0]),
        node("RescaleCFG", model=["model", 0], multiplier=0.7),
    ],
    ids=lambda patch: patch["class_type"],
)
def test_guidance_patches_change_the_picture(server, drawn, patch):
    graph = {**adapted(), "patched": patch, "drawn": ksampler(model="patched")}
    found = server.draw(graph, "drawn")[0]
    assert found.isfinite().all() and (found - drawn).abs().max() > 1e-3


def test_torch_compile_model_draws_the_same(server, drawn):
    # The backend that needs no C compiler; on a CPU it runs what dynamo captured.
    compiled = node("TorchCompileModel", model=["model", 0], backend="cudagraphs")
    graph = {**adapted(), "compiled": compiled, "drawn": ksampler(model="compiled")}
    torch.testing.assert_close(server.draw(graph, "drawn")[0], drawn, atol=1e-4, rtol=0)


def test_a_zeroed_out_negative_prompt_works(server, drawn):
    graph = {
        **adapted(),
        "zero": node("ConditioningZeroOut", conditioning=["negative", 0]),
        "drawn": ksampler(negative=["zero", 0]),
    }
    found = server.draw(graph, "drawn")[0]
    assert found.isfinite().all() and not torch.equal(found, drawn)


def test_a_batch_of_three_is_three_pictures(server, drawn):
    graph = {**adapted(), "latent": empty_latent(batch_size=3), "drawn": ksampler()}
    found = server.draw(graph, "drawn")[0]
    assert found.shape == (3, 32, 6, 4)
    torch.testing.assert_close(found[:1], drawn, atol=1e-4, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.1 and (found[1] - found[2]).abs().max() > 0.1


def picture(server):
    """An encoded picture as node "latent"."""
    colours = Image.radial_gradient("L").resize((64, 96)).convert("RGB")
    return {
        "vae": load(codecs.RANDOM),
        "picture": node("LoadImage", image=server.upload(colours, "gradient.png")),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
    }


@pytest.mark.parametrize("make", [ksampler, sampler], ids=["KSampler", "ours"])
def test_image_to_image_keeps_more_of_the_picture_the_less_it_denoises(server, make):
    graph = {
        **adapted(),
        **picture(server),
        "a_little": make(denoise=0.1),
        "half": make(denoise=0.5),
        "nothing": make(denoise=0.0),
    }
    start, little, half, nothing = server.draw(graph, "latent", "a_little", "half", "nothing")
    assert torch.equal(nothing, start)
    assert 0 < (little - start).abs().mean() < (half - start).abs().mean()


def test_inpainting_changes_the_masked_part_alone(server):
    graph = {
        **adapted(),
        **picture(server),
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
        "drawn": ksampler(latent="masked"),
        "ours": sampler(latent="masked"),
    }
    start, drawn, ours = server.draw(graph, "latent", "drawn", "ours")
    assert torch.equal(ours, drawn)
    torch.testing.assert_close(drawn[..., 2:], start[..., 2:], atol=1e-4, rtol=0)
    assert (drawn[..., :2] - start[..., :2]).abs().max() > 0.1


def test_the_stock_empty_latent_is_brought_to_our_size_where_comfyui_does_that(server):
    stock = node("EmptySD3LatentImage", width=64, height=96, batch_size=1)
    found = server.draw({**adapted(), "latent": stock, "drawn": ksampler()}, "drawn")[0]
    version = server.get_json("/system_stats")["system"]["comfyui_version"]
    resizes = tuple(int(part) for part in version.split(".")[:2]) >= (0, 11)
    assert found.shape == ((1, 32, 6, 4) if resizes else (1, 32, 12, 8))


def test_a_saved_model_is_read_by_the_stock_loader_and_draws_the_same(server, drawn):
    saved = node("ModelSave", model=["model", 0], filename_prefix="davae_saved")
    assert server.run({**adapted(), "saved": saved}).error is None
    written = next((server.base / "output").glob("davae_saved_*.safetensors"))
    shutil.copy(written, server.base / "models" / "diffusion_models" / "davae_saved.safetensors")
    graph = {
        **adapted(),
        "model": node("UNETLoader", unet_name="davae_saved.safetensors", weight_dtype="default"),
        "drawn": ksampler(),
    }
    torch.testing.assert_close(server.draw(graph, "drawn")[0], drawn, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loader", ["stock", "ours"])
def test_a_merged_file_draws_what_base_and_adapter_draw(server, drawn, loader):
    stock = node("UNETLoader", unet_name=files.MERGED, weight_dtype="default")
    model = stock if loader == "stock" else load_model(files.MERGED)
    graph = {**adapted(), "model": model, "drawn": ksampler()}
    torch.testing.assert_close(server.draw(graph, "drawn")[0], drawn, atol=1e-4, rtol=0)


def test_every_step_sends_a_preview_of_the_base_channels(server):
    kept = node("SaveLatent", samples=["drawn", 0], filename_prefix="preview")
    previews = server.run({**adapted(), "drawn": ksampler(), "kept": kept}).previews
    assert len(previews) == SETTINGS["steps"]
    for preview in previews:
        assert preview.width / preview.height == pytest.approx(4 / 6, abs=0.01)
        darkest, brightest = preview.convert("L").getextrema()
        assert darkest < brightest
