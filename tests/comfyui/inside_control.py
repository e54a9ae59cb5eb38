"""ControlNets on our MODEL inside a real ComfyUI process (process.py starts it):

python inside_control.py PACK MODELS ANSWERS

MODELS is a folder as tiny_models and tiny_controlnets fill it. ANSWERS becomes a JSON file with an entry per function
of EXPERIMENTS. Nothing here decides what is right: tests/nodes/test_controlnet_inside_comfyui.py does.
"""

import sys
from pathlib import Path
from typing import Any

import inside_pack

PACK, MODELS, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import comfy.controlnet  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy.taesd.taesd import TAESD  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

adapt_controlnet = inside_pack.part("nodes.compat.control").adapt_controlnet
load_model = inside_pack.part("nodes.compat.model").load_model
DetailAlignedComfyVAE = inside_pack.part("nodes.compat.vae").DetailAlignedComfyVAE
inside_pack.part("nodes.extension").DetailAlignedExtension()

DAVAE = MODELS / "vae" / "davae_random.safetensors"
BASE = MODELS / "diffusion_models" / "tiny_sd35.safetensors"
BASE_2048 = MODELS / "diffusion_models" / "tiny_pooled_2048.safetensors"
ADAPTER = MODELS / "loras" / "davae_tiny.safetensors"
HEIGHT, WIDTH = 6, 4


def control(name: str) -> Any:
    """A ControlNet as Load ControlNet Model reads it."""
    return comfy.controlnet.load_controlnet(str(MODELS / "controlnet" / name))


def f8_vae() -> Any:
    """A VAE of 16 channels and 8 pixels per cell, as the stock loader reads it: a small random TAESD."""
    torch.manual_seed(6)
    taesd = TAESD(latent_channels=16)
    for parameter in taesd.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    return comfy.sd.VAE(sd={name: tensor.detach() for name, tensor in taesd.state_dict().items()})


def picture() -> torch.Tensor:
    """A picture to control by [1, 3, H, W] in [0, 1], of some other size."""
    torch.manual_seed(7)
    coarse = torch.rand(1, 3, 5, 5)
    return torch.nn.functional.interpolate(coarse, size=(100, 70), mode="bicubic").clamp(0, 1)


def prompt(net: Any, vae: Any, strength: float, pooled: int = 1344) -> list[Any]:
    """Random text features with the ControlNet set up as Apply ControlNet does; without one when it is None."""
    generator = torch.Generator().manual_seed(5)
    extra: dict[str, Any] = {"pooled_output": torch.randn(1, pooled, generator=generator)}
    context = torch.randn(1, 77, 4096, generator=generator)
    if net is not None:
        hinted = net.copy().set_cond_hint(picture(), strength, (0.0, 1.0), vae=vae)
        extra |= {"control": hinted, "control_apply_to_uncond": False}
    return [[context, extra]]


def drawn(model: Any, text: list[Any], channels: int = 32) -> torch.Tensor:
    """What the model draws from seed 3."""
    latents = torch.zeros(1, channels, HEIGHT, WIDTH)
    noise = comfy.sample.prepare_noise(latents, 3)
    return comfy.sample.sample(model, noise, 2, 2.0, "euler", "simple", text, text, latents, seed=3)


def effect(file: str, base: Path, pooled: int) -> dict[str, Any]:
    """The ControlNet on our model without adapter beside the stock one on the stock model, at three strengths."""
    vae, ours = f8_vae(), load_model(base, None, "default")
    stock = comfy.sd.load_diffusion_model(str(base))
    adapted = adapt_controlnet(control(file))
    free = drawn(ours, prompt(None, None, 0, pooled))
    none, whole = (drawn(ours, prompt(adapted, vae, s, pooled)) for s in (0.0, 1.0))
    plain = drawn(stock, prompt(control(file), vae, 1.0, pooled), channels=16)
    return {
        "at_0": largest(none - free),
        "at_1": largest(whole[:, :16] - free[:, :16]),
        "from_stock": largest(whole[:, :16] - plain),
        "finite": bool(whole.isfinite().all()),
    }


def diffusers() -> dict[str, Any]:
    return effect("tiny_diffusers.safetensors", BASE, 1344)


def stability() -> dict[str, Any]:
    """The layout of Stable Diffusion 3.5 Large's ControlNets: it borrows the model's patch embedder."""
    return effect("tiny_stability.safetensors", BASE_2048, 2048)


def stability_double() -> dict[str, Any]:
    """The other half of that layout: it borrows the model's pooled embedder instead."""
    return effect("tiny_stability_double.safetensors", BASE_2048, 2048)


def on_an_adapted_model() -> dict[str, Any]:
    """The adapter has changed the patch embedder and the head; both halves of the latent must feel the control."""
    model, vae = load_model(BASE, ADAPTER, "default"), f8_vae()
    net = adapt_controlnet(control("tiny_diffusers.safetensors"))
    free, none, whole = (
        drawn(model, text)
        for text in (prompt(None, None, 0), prompt(net, vae, 0.0), prompt(net, vae, 1.0))
    )
    return {
        "at_0": largest(none - free),
        "base": largest(whole[:, :16] - free[:, :16]),
        "detail": largest(whole[:, 16:] - free[:, 16:]),
    }


def the_davae_as_hint_encoder() -> dict[str, Any]:
    """A DA-VAE connected to Apply ControlNet beside its own base encoder on the picture of half the size."""
    davae = DetailAlignedComfyVAE(DAVAE)
    net = adapt_controlnet(control("tiny_diffusers.safetensors"))
    hinted = net.copy().set_cond_hint(picture(), 1.0, (0.0, 1.0), vae=davae)
    pixels = torch.rand(1, 96, 64, 3)
    hint = hinted.vae.encode(pixels)
    model = load_model(BASE, ADAPTER, "default")
    moved = drawn(model, prompt(net, davae, 1.0)) - drawn(model, prompt(net, davae, 0.0))
    return {
        "compression": hinted.vae.spacial_compression_encode(),
        "shape": list(hint.shape),
        "difference": largest(hint - davae.encode(pixels)[:, :16]),
        "moved": largest(moved),
    }


def two_in_a_row() -> dict[str, Any]:
    """Two Apply ControlNet after each other, the second on top of the first."""
    model, vae = load_model(BASE, ADAPTER, "default"), f8_vae()
    net = adapt_controlnet(control("tiny_diffusers.safetensors"))
    one, two = prompt(net, vae, 1.0), prompt(net, vae, 1.0)
    two[0][1]["control"].set_previous_controlnet(one[0][1]["control"].copy())
    return {"second": largest(drawn(model, two) - drawn(model, one))}


def sentence_of(action: Any) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


def refusals() -> dict[str, Any]:
    """The sentences for a ControlNet of another width or another family, and for a model of another family."""
    model, vae = load_model(BASE, ADAPTER, "default"), f8_vae()
    wide = adapt_controlnet(control("wide_diffusers.safetensors"))
    lora = comfy.controlnet.ControlLora({})
    return {
        "width": sentence_of(lambda: drawn(model, prompt(wide, vae, 1.0))),
        "family": sentence_of(lambda: adapt_controlnet(lora)),
        "model": sentence_of(lambda: wide.pre_run(torch.nn.Identity(), float)),
    }


EXPERIMENTS = (
    diffusers,
    stability,
    stability_double,
    on_an_adapted_model,
    the_davae_as_hint_encoder,
    two_in_a_row,
    refusals,
)


def write_model_of_2048() -> None:
    """The tiny model reading pooled vectors as wide as Stable Diffusion 3.5's: Stability's layout knows no others."""
    tensors, name = load_file(BASE), "y_embedder.mlp.0.weight"
    torch.manual_seed(8)
    tensors[name] = torch.randn(tensors[name].shape[0], 2048) * 0.08
    save_file(tensors, BASE_2048)


if __name__ == "__main__":
    write_model_of_2048()
    inside_pack.write_answers(ANSWERS, EXPERIMENTS)
