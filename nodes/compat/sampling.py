"""Sampling a MODEL as ComfyUI's own KSampler does, with the published schedule among the choices."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...davae_core.flow import shifted_sigmas
from .host import without_scale

PUBLISHED = "da-vae"
"""The schedule of the published code, which no stock scheduler matches: even steps, then the shift."""


@dataclass(frozen=True)
class SamplingSettings:
    """The widgets of a sampler node; `shift` None is the model's own, `denoise` 1 starts from pure noise."""

    seed: int
    steps: int
    guidance: float
    sampler: str
    scheduler: str
    denoise: float
    shift: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A new LATENT, how many steps that took, and how long each; None where there was one or none."""

    latent: dict[str, Any]
    steps: int
    seconds_a_step: float | None


def sampler_names() -> list[str]:
    """ComfyUI's samplers."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    """The published schedule, then ComfyUI's schedulers."""
    return [PUBLISHED, *comfy.samplers.KSampler.SCHEDULERS]


def sample(
    model: Any,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
    settings: SamplingSettings,
    preview_first: bool = False,
) -> Drawn:
    """A new LATENT drawn from noise, or from `latent` where it is not empty; its mask and batch numbers count.

    Progress, previews and interrupts are ComfyUI's own. `preview_first` shows `latent` itself before the first step.
    """
    if settings.shift is not None:
        model = with_shift(model, settings.shift)
    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, settings.seed, latent.get("batch_index"))
    callback = latent_preview.prepare_callback(model, settings.steps)
    pace = _Pace(callback)
    if preview_first:
        # The callback counts steps from 0 and reports the next one, so this is none done.
        callback(-1, _in_model_space(model, samples), None, settings.steps)
    drawn = comfy.sample.sample(
        model,
        noise,
        settings.steps,
        settings.guidance,
        settings.sampler,
        # KSampler computes a schedule of its own before it takes the one given as sigmas.
        "simple" if settings.scheduler == PUBLISHED else settings.scheduler,
        positive,
        negative,
        samples,
        denoise=settings.denoise,
        noise_mask=latent.get("noise_mask"),
        sigmas=_published_sigmas(model, settings) if settings.scheduler == PUBLISHED else None,
        callback=pace.step,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=settings.seed,
    )
    latent = {**without_scale(latent), "samples": drawn}
    return Drawn(latent, pace.steps, pace.seconds_a_step(drawn))


class _Pace:
    """How long a step takes, by the steps after the first: before that one the model is loaded."""

    def __init__(self, callback: Callable[..., None]) -> None:
        self._callback = callback
        self._first: float | None = None
        self.steps = 0

    def step(self, step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        """What samplers call after every step, counted from 0; it shows the preview."""
        if self._first is None:
            _wait_for(denoised)
            self._first = time.perf_counter()
        self.steps = step + 1
        self._callback(step, denoised, x, total)

    def seconds_a_step(self, drawn: Tensor) -> float | None:
        """Called when all steps are given to the device; None where there was no second one."""
        if self._first is None or self.steps < 2:
            return None
        _wait_for(drawn)
        return (time.perf_counter() - self._first) / (self.steps - 1)


def _wait_for(made: Tensor) -> None:
    """Until a GPU, which works on while Python goes on, has made this."""
    made.reshape(-1)[:1].cpu()


def first_level(model: Any, settings: SamplingSettings) -> float:
    """The share of noise that `sample` mixes into its latent before the first step, 0 to 1; 0 where it does nothing."""
    if settings.shift is not None:
        model = with_shift(model, settings.shift)
    if settings.scheduler == PUBLISHED:
        levels = _published_sigmas(model, settings)
    else:
        levels = comfy.samplers.KSampler(
            model, settings.steps, model.load_device, settings.sampler, settings.scheduler, settings.denoise
        ).sigmas  # fmt: skip
    return float(levels[0]) if len(levels) else 0.0


def _in_model_space(model: Any, samples: Tensor) -> Tensor:
    """A latent as previews want it: in model space, where the model works."""
    return model.model.process_latent_in(samples).to(model.load_device)  # type: ignore[no-any-return]


def with_shift(model: Any, shift: float) -> Any:
    """A clone of MODEL whose schedule has another shift, as stock ModelSamplingSD3 makes one."""

    class Shifted(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):  # type: ignore[misc]
        pass

    sampling = Shifted(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1000)
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


def _published_sigmas(model: Any, settings: SamplingSettings) -> Tensor:
    """[steps + 1] levels ending in 0: the whole schedule, or the end of a longer one for denoise below 1."""
    if settings.denoise <= 0.0:
        return torch.zeros(0)
    # These samplers look one level ahead, for which ComfyUI leaves out the last but one of a longer schedule.
    ahead = settings.sampler in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    steps = settings.steps + ahead
    shift = getattr(model.get_model_object("model_sampling"), "shift", None)
    if shift is None:
        raise ValueError(
            f"The schedule {PUBLISHED} follows the shift of a flow model, but another kind of sampling was put on this "
            "model: pick one of ComfyUI's own schedulers."
        )
    levels = shifted_sigmas(int(steps / min(settings.denoise, 1.0)), float(shift))[-(steps + 1) :]
    return torch.cat([levels[:-2], levels[-1:]]) if ahead else levels
