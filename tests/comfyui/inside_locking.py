"""Measurements of samplers that keep the base, inside a real ComfyUI process (process.py starts it):

python inside_locking.py PACK MODELS ANSWERS

As inside_model.py; tests/nodes/test_locking_inside_comfyui.py decides what is right.
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import inside_pack

PACK, MODELS, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

loading = inside_pack.part("nodes.compat.model")
locking = inside_pack.part("nodes.compat.locking")
sampling = inside_pack.part("nodes.compat.sampling")
flow = inside_pack.part("davae_core.flow")
latents_of = inside_pack.part("davae_core.latents")
inside_pack.part("nodes.extension").DetailAlignedExtension()

BASE = MODELS / "diffusion_models" / "tiny_sd35.safetensors"
ADAPTERS = {
    "detail": MODELS / "loras" / "davae_tiny_detail.safetensors",
    "joint": MODELS / "loras" / "davae_tiny.safetensors",
}


def prompt() -> list[Any]:
    """Random text features as CLIPTextEncode gives them."""
    generator = torch.Generator().manual_seed(5)
    context = torch.randn(1, 77, 4096, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, 1344, generator=generator)}]]


def latent(batch: int = 1) -> Tensor:
    """A DA-VAE latent in VAE space."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(batch, 32, 6, 4, generator=generator) * 0.7 + 0.1


def drawn(model: Any, start: Tensor, sampler: str = "euler", **settings: Any) -> Tensor:
    """What the model draws from seed 3 in 4 steps, the stock way."""
    noise = comfy.sample.prepare_noise(start, 3)
    text = prompt()
    options = {"denoise": 1.0, "seed": 3, **settings}
    guidance = options.pop("guidance", 2.0)
    return comfy.sample.sample(
        model, noise, 4, guidance, sampler, "simple", text, text, start, **options
    )


def locked(mode: str, shift: float | None = None) -> Any:
    model = locking.lock_base(loading.load_model(BASE, ADAPTERS[mode], "default"))
    return model if shift is None else sampling.with_shift(model, shift)


def seen_by_the_network(model: Any, draw: Any) -> list[tuple[Tensor, float]]:
    """The first picture's latent and noise level of every call of the transformer while `draw` runs."""
    seen = []

    def note(_: Any, inputs: Any) -> None:
        seen.append((inputs[0][:1].clone(), float(inputs[1][0]) / 1000))

    hook = model.model.diffusion_model.register_forward_pre_hook(note)
    draw()
    hook.remove()
    return seen


def every_sampler() -> dict[str, Any]:
    """By mode, shift and sampler: is the base the same to the last bit, and is there a detail?"""
    start, found = latent(), {}
    for mode, shift in (("detail", 3.0), ("detail", 4.0), ("joint", 4.0)):
        model = locked(mode, shift)
        for name in comfy.samplers.KSampler.SAMPLERS:
            end = drawn(model, start, name)
            found[f"{mode} {shift:g} {name}"] = {
                "same": torch.equal(end[:, :16], start[:, :16]),
                "finite": bool(end.isfinite().all()),
                "detail": largest(end[:, 16:] - start[:, 16:]),
            }
    return found


def what_the_network_sees() -> dict[str, Any]:
    """How far the base it sees is from the clean one, and from the one noised to the level it is told."""
    start = latent()
    layout = inside_pack.part("davae_core.presets").SD3.layout
    clean = latents_of.to_model_space(start, layout)[:, :16]
    noise = comfy.sample.prepare_noise(start, 3)[:, :16]
    found = {}
    for mode in ADAPTERS:
        model = locked(mode)
        seen = seen_by_the_network(model, lambda model=model: drawn(model, start))
        found[mode] = {
            "clean": max(largest(x[:, :16] - clean) for x, _ in seen),
            "noised": max(
                largest(x[:, :16] - (1 - level) * clean - level * noise) for x, level in seen
            ),
        }
    return found


def by_hand() -> dict[str, Any]:
    """The detail sampler's run beside Euler steps of ours with the transformer alone."""
    start, text = latent(), prompt()
    start[:, 16:] = 0
    model = locked("detail")
    settings = sampling.SamplingSettings(3, 4, 1.0, "euler", sampling.PUBLISHED, 1.0)
    end = sampling.sample(model, text, text, {"samples": start}, settings).latent["samples"]
    network = model.model.diffusion_model
    layout = model.model.model_config.description.layout
    base = latents_of.to_model_space(start, layout)[:, :16]
    detail = comfy.sample.prepare_noise(start, 3)[:, 16:]
    context, pooled = text[0][0], text[0][1]["pooled_output"]
    levels = flow.shifted_sigmas(4, 3.0).tolist()
    for now, after in pairwise(levels):
        x = torch.cat([base, detail], dim=1)
        velocity = network(x, torch.tensor([now * 1000]), context=context, y=pooled)
        detail = detail + (after - now) * velocity[:, 16:].float()
    return {"difference": largest(end[:, 16:] - detail), "size": largest(detail)}


def two_halves() -> dict[str, Any]:
    """The second half of a schedule, which adds no noise: does the base still look noised to a joint adapter?"""
    start = latent()
    model, text = locked("joint"), prompt()
    seen = seen_by_the_network(
        model,
        lambda: comfy.sample.sample(
            model, torch.zeros_like(start), 4, 1.0, "euler", "simple", text, text, start,
            start_step=2, disable_noise=True, seed=3,
        ),
    )  # fmt: skip
    layout = model.model.model_config.description.layout
    clean = latents_of.to_model_space(start, layout)[:, :16]
    return {
        "noise": [float(((x[:, :16] - (1 - s) * clean) / s).std()) for x, s in seen],
    }


def masked() -> dict[str, Any]:
    """A mask of the left half, and no noise at all."""
    start, found = latent(), {}
    mask = torch.zeros(1, 1, 6, 4)
    mask[..., :2] = 1
    for mode in ADAPTERS:
        end = drawn(locked(mode), start, noise_mask=mask)
        nothing = drawn(locked(mode), start, denoise=0.0)
        found[mode] = {
            "base": torch.equal(end[:, :16], start[:, :16]),
            "outside": largest((end - start)[..., 2:]),
            "inside": largest((end - start)[..., :2]),
            "nothing": largest(nothing - start),
        }
    return found


def batch() -> dict[str, Any]:
    """Three pictures and a half-precision latent."""
    start = latent(3)
    end = drawn(locked("detail"), start)
    half = start.half()
    small = drawn(locked("detail"), half)
    return {
        "same": torch.equal(end[:, :16], start[:, :16]),
        "apart": largest(end[0, 16:] - end[1, 16:]),
        "half": torch.equal(small[:, :16].half(), half[:, :16]),
    }


def unlocked() -> dict[str, Any]:
    """What a sampler says that gets a detail adapter without a lock, or an empty latent with one."""
    model = loading.load_model(BASE, ADAPTERS["detail"], "default")
    found = {}
    for name, tried, start in (
        ("no lock", model, latent()),
        ("empty", locking.lock_base(model), torch.zeros(1, 32, 6, 4)),
        ("channels", locking.lock_base(model), torch.ones(1, 16, 6, 4)),
    ):
        try:
            drawn(tried, start)
        except ValueError as error:
            found[name] = str(error)
    return found


def untouched() -> dict[str, Any]:
    """The lock is on its clone alone, once, and a lock on a lock changes nothing."""
    model = loading.load_model(BASE, ADAPTERS["detail"], "default")
    once = locking.lock_base(model)
    twice = locking.lock_base(once)
    wrappers = twice.get_wrappers(locking.WrappersMP.OUTER_SAMPLE, locking.KEY)
    return {
        "locked": [locking.is_locked(found) for found in (model, once, twice)],
        "wrappers": len(wrappers),
        "same": torch.equal(drawn(once, latent()), drawn(twice, latent())),
        "options": locking.BASE_IS_GIVEN in str(once.model_options),
    }


EXPERIMENTS = (
    every_sampler,
    what_the_network_sees,
    by_hand,
    two_halves,
    masked,
    batch,
    unlocked,
    untouched,
)


if __name__ == "__main__":
    inside_pack.write_answers(ANSWERS, EXPERIMENTS)
