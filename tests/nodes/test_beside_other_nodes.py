"""Our MODEL, VAE and latents beside what people combine them with: every trainer's LoRAs, merges, batches, flags."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from scripts.workflows.names import DRAW
from tests.comfyui import base_directory as codecs
from tests.comfyui import tiny_models as files
from tests.comfyui.base_directory import make_base_directory
from tests.comfyui.graphs import empty_latent, ksampler, load, load_model, node, prompts
from tests.comfyui.server import Server
from tests.comfyui.workflows import as_the_browser_sends_it, only

LAYER = "transformer_blocks.1.attn.to_out.0"
FLAT = LAYER.replace(".", "_")
NATIVE = "joint_blocks.1.x_block.attn.proj"
KOHYA = f"lora_unet_{NATIVE.replace('.', '_')}"
DOWN_AND_UP = {
    "diffusers": f"transformer.{LAYER}.lora_A.weight transformer.{LAYER}.lora_B.weight",
    "peft": f"base_model.model.{LAYER}.lora_A.weight base_model.model.{LAYER}.lora_B.weight",
    "kohya": f"{KOHYA}.lora_down.weight {KOHYA}.lora_up.weight",
    "OneTrainer": f"lora_transformer_{FLAT}.lora_down.weight lora_transformer_{FLAT}.lora_up.weight",
    "SimpleTuner": f"lycoris_{FLAT}.lora_down.weight lycoris_{FLAT}.lora_up.weight",
    "ComfyUI": f"diffusion_model.{NATIVE}.lora_A.weight diffusion_model.{NATIVE}.lora_B.weight",
    "native": f"diffusion_model.{NATIVE}.lora_down.weight diffusion_model.{NATIVE}.lora_up.weight",
}
"""How seven trainers call the two matrices of a LoRA on the same layer."""
WIDTH, RANK = files.WIDTH, files.RANK


def matrices():
    generator = torch.Generator().manual_seed(3)
    down = torch.randn(RANK, WIDTH, generator=generator) * 0.3
    return down, torch.randn(WIDTH, RANK, generator=generator) * 0.3


def kept(server, name, tensors):
    """A LoRA in the server's folder, as a loader of it on the node "model"."""
    path = server.base / "models" / "loras" / f"beside_{name}.safetensors"
    save_file(tensors, path)
    return node("LoraLoaderModelOnly", model=["model", 0], lora_name=path.name, strength_model=1.0)


def adapted(**changed):
    return {
        **prompts(),
        "model": load_model(files.BASE, files.ADAPTER),
        "latent": empty_latent(),
        **changed,
    }


@pytest.fixture(scope="module")
def plain(server):
    return server.draw(adapted(drawn=ksampler()), "drawn")[0]


@pytest.fixture(scope="module")
def with_lora(server):
    """What a plain difference of the same values draws."""
    down, up = matrices()
    loader = kept(server, "difference", {f"transformer.{LAYER}.diff": up @ down})
    return server.draw(adapted(lora=loader, drawn=ksampler(model="lora")), "drawn")[0]


@pytest.mark.parametrize("trainer", DOWN_AND_UP)
def test_a_lora_counts_whichever_trainer_named_it(server, plain, with_lora, trainer):
    loader = kept(server, trainer, dict(zip(DOWN_AND_UP[trainer].split(), matrices(), strict=True)))
    drawn = server.draw(adapted(lora=loader, drawn=ksampler(model="lora")), "drawn")[0]
    assert (drawn - plain).abs().max() > 0.01
    torch.testing.assert_close(drawn, with_lora, atol=1e-3, rtol=0)


def lokr():
    generator = torch.Generator().manual_seed(4)
    first, second = (torch.randn(n, n, generator=generator) * 0.3 for n in (4, WIDTH // 4))
    tensors = {f"lycoris_{FLAT}.lokr_w1": first, f"lycoris_{FLAT}.lokr_w2": second}
    return tensors, torch.kron(first, second)


def loha():
    generator = torch.Generator().manual_seed(5)
    shapes = {"hada_w1_a": (WIDTH, RANK), "hada_w1_b": (RANK, WIDTH)}
    shapes |= {"hada_w2_a": (WIDTH, RANK), "hada_w2_b": (RANK, WIDTH)}
    parts = {name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()}
    one, two, three, four = parts.values()
    tensors = {f"lycoris_{FLAT}.{name}": tensor for name, tensor in parts.items()}
    return tensors, (one @ two) * (three @ four)


@pytest.mark.parametrize("make", [lokr, loha])
def test_lokr_and_loha_count_as_the_difference_they_stand_for(server, plain, make):
    tensors, difference = make()
    graph = adapted(
        lora=kept(server, make.__name__, tensors),
        same=kept(
            server, f"{make.__name__}_as_difference", {f"transformer.{LAYER}.diff": difference}
        ),
        drawn=ksampler(model="lora"),
        wanted=ksampler(model="same"),
    )
    drawn, wanted = server.draw(graph, "drawn", "wanted")
    assert (drawn - plain).abs().max() > 0.01
    torch.testing.assert_close(drawn, wanted, atol=1e-3, rtol=0)


def test_dora_counts(server, plain, with_lora):
    down, up = matrices()
    tensors = {
        f"transformer.{LAYER}.lora_A.weight": down,
        f"transformer.{LAYER}.lora_B.weight": up,
        f"transformer.{LAYER}.dora_scale": torch.full((WIDTH, 1), 2.0),
    }
    graph = adapted(lora=kept(server, "dora", tensors), drawn=ksampler(model="lora"))
    drawn = server.draw(graph, "drawn")[0]
    assert drawn.isfinite().all()
    assert (drawn - plain).abs().max() > 0.01 and (drawn - with_lora).abs().max() > 0.01


@pytest.mark.parametrize("ratio", [1.0, 0.0])
def test_a_merge_of_two_models_draws_what_the_one_it_takes_all_of_draws(
    server, plain, with_lora, ratio
):
    down, up = matrices()
    loader = kept(server, "merged", {f"transformer.{LAYER}.diff": up @ down})
    merged = node("ModelMergeSimple", model1=["model", 0], model2=["lora", 0], ratio=ratio)
    graph = adapted(lora=loader, merged=merged, drawn=ksampler(model="merged"))
    wanted = plain if ratio == 1.0 else with_lora
    torch.testing.assert_close(server.draw(graph, "drawn")[0], wanted, atol=1e-3, rtol=0)


def test_nodes_that_repeat_and_pick_latents_of_a_batch_work(server):
    graph = adapted(
        twice=node("RepeatLatentBatch", samples=["latent", 0], amount=2),
        drawn=ksampler(latent="twice"),
        second=node("LatentFromBatch", samples=["drawn", 0], batch_index=1, length=1),
        apart=node("RebatchLatents", latents=["drawn", 0], batch_size=1),
        alike=node("LatentMultiply", samples=["apart", 0], multiplier=1.0),
    )
    drawn, second = server.draw(graph, "drawn", "second")
    assert drawn.shape == (2, 32, 6, 4) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(second, drawn[1:])


def test_a_mask_on_a_picture_of_odd_size_keeps_what_is_outside_of_it(server):
    picture = Image.radial_gradient("L").resize((75, 107)).convert("RGBA")
    pixels = np.array(picture)
    pixels[:, :30, 3] = 0
    name = server.upload(Image.fromarray(pixels), "odd_mask.png")
    graph = adapted(
        vae=load(codecs.RANDOM),
        picture=node("LoadImage", image=name),
        latent=node("DAVAE_Encode", image=["picture", 0], vae=["vae", 0]),
        masked=node("SetLatentNoiseMask", samples=["latent", 0], mask=["picture", 1]),
        drawn=ksampler(latent="masked"),
    )
    start, drawn = server.draw(graph, "latent", "drawn")
    assert start.shape == drawn.shape == (1, 32, 6, 4)
    torch.testing.assert_close(drawn[..., 2:], start[..., 2:], atol=1e-4, rtol=0)
    assert (drawn[..., 0] - start[..., 0]).abs().max() > 0.1


@pytest.mark.parametrize("flags", [("--fp16-vae",), ("--fp8_e4m3fn-unet", "--fp8_e4m3fn-text-enc")])
def test_the_first_workflow_runs_under_flags_that_change_number_types(tmp_path, flags):
    make_base_directory(tmp_path)
    server = Server(tmp_path, flags)
    server.start()
    try:
        graph = as_the_browser_sends_it(server, DRAW)
        graph[only(graph, "DAVAE_Sampler")]["inputs"]["steps"] = 2
        result = server.run(graph)
        assert result.error is None and result.refused is None, result
        drawn = np.asarray(server.picture(result.outputs, only(graph, "SaveImage")), np.float32)
        assert drawn.std() > 5
    finally:
        server.stop()
