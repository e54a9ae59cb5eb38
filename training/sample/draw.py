"""Draw a set of samples: picture n is a function of the seed and n, whichever process draws it and when."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from davae_core.disk.leftovers import remove_left_overs
from davae_core.files import file_hash, write_text
from davae_core.images import write_image
from davae_core.lightning.description import ClassAdvice
from davae_core.lightning.files import ClassModel, build_lightning, read_class_model
from davae_core.reading.json_text import read_json
from davae_core.reading.plain_text import shown

from ..cache.class_list import states_of
from ..cache.encoding import latents_of
from ..dit.class_denoiser import ClassDenoiser
from ..dit.drawing import PictureDecoder, SamplingPlan, draw_latents
from ..engine.processes import make_state
from ..engine.progress import progress_bar
from ..engine.randomness import Stream, numpy_generator
from ..engine.unhurried import unhurried
from ..errors import TrainingError
from .config import SampleConfig, SamplesConfig

_LOG = logging.getLogger(__name__)
MADE_WITH = "samples.json"
"""In the folder of the pictures: what they were drawn with."""


def class_of(samples: SamplesConfig, number: int, classes: int) -> int:
    """The class of picture `number` of a model of so many: drawn for it alone, or each in turn, of `only` if given."""
    pool = samples.only or range(classes)
    if samples.classes == "even":
        return pool[number % len(pool)]
    return pool[int(numpy_generator(samples.seed, Stream.ORDER, number).integers(len(pool)))]


def picture_path(folder: Path, number: int) -> Path:
    """Where picture `number` lies."""
    return folder / f"{number:07d}.png"


def draw_samples(config: SampleConfig) -> int:
    """Draw what the folder lacks of a set of samples; how many that was, over all processes.

    Every process of an `accelerate launch` draws its share. A set that was stopped goes on. Raises TrainingError or
    CheckpointError, also for a folder with pictures that were drawn otherwise.
    """
    state = make_state(config.work.device)
    folder = Path(config.output.folder).expanduser()
    model = read_class_model(Path(config.model.file).expanduser())
    _check(config, model)
    with unhurried():
        if state.is_main_process:
            _begin(folder, config, model)
    # Every process lists what is missing before one of them changes it.
    with unhurried():
        missing = [n for n in range(config.samples.count) if not picture_path(folder, n).is_file()]
    with unhurried():
        own = missing[state.process_index :: state.num_processes]
        sampler = Sampler(config, model, state.device)
        with progress_bar(len(own), "drawing", "picture", state.is_main_process) as bar:
            for numbers in _batches(own, config.work.batch_size):
                for number, picture in zip(numbers, sampler.pictures(numbers), strict=True):
                    write_image(picture_path(folder, number), picture)
                bar.update(len(numbers))
    return len(missing)


class Sampler:
    """A class-conditional model and its VAE, ready to draw."""

    def __init__(self, config: SampleConfig, model: ClassModel, device: torch.device) -> None:
        self._config, self._classes, self._device = config, model.sizes.classes, device
        self._channels, side = model.sizes.channels, model.sizes.side * model.sizes.patch
        transformer = build_lightning(model.sizes, model.weights).float().to(device)
        self._denoiser = ClassDenoiser(transformer.eval().requires_grad_(False))
        advice = advice_of(config.samples, model.advice)
        self._plan = SamplingPlan(
            advice.shift, advice.steps, advice.guidance, side, side, advice.guided_below, even=True
        )
        self._decoder = PictureDecoder(config.model.vae, model.layout, device, model.statistics)

    def pictures(self, numbers: Sequence[int]) -> Tensor:
        """The pictures [B, 3, H, W] in [-1, 1] of these numbers, on the CPU."""
        samples, noise_seed = self._config.samples, self._config.samples.seed
        classes = [class_of(samples, number, self._classes) for number in numbers]
        told = states_of(torch.tensor(classes))
        half = self._config.work.precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            latents = draw_latents(
                self._denoiser,
                [told.row(row) for row in range(len(numbers))],
                states_of(torch.tensor([self._classes])),
                self._channels,
                self._plan,
                self._device,
                noise_seed,
                numbers=numbers,
            )
        return self._decoder.full(latents)


def advice_of(samples: SamplesConfig, advice: ClassAdvice) -> ClassAdvice:
    """How to sample: what the file advises, but for what the settings say."""
    told = {name: getattr(samples, name) for name in vars(advice)}
    return replace(advice, **{name: value for name, value in told.items() if value is not None})


def _check(config: SampleConfig, model: ClassModel) -> None:
    wrong = [n for n in config.samples.only if not 0 <= n < model.sizes.classes]
    if wrong:
        raise TrainingError(
            f"samples.only names the class {wrong[0]}, but {config.model.file} has the classes 0 to "
            f"{model.sizes.classes - 1}: correct it."
        )
    detail = model.layout.detail_channels > 0
    if latents_of(config.model.vae, detail, "model.vae")[1] != model.parents.get("vae"):
        raise TrainingError(
            f"model.file {config.model.file} was trained on latents of another VAE than model.vae {config.model.vae}: "
            "name that one."
        )


def _begin(folder: Path, config: SampleConfig, model: ClassModel) -> None:
    """Write what the pictures are drawn with, or check that those in the folder were drawn alike."""
    samples = config.samples
    advice = advice_of(samples, model.advice)
    now: dict[str, Any] = {
        "model": file_hash(Path(config.model.file).expanduser()),
        "vae": model.parents.get("vae"),
        "precision": config.work.precision,
        "seed": samples.seed,
        "classes": samples.classes,
        "only": list(samples.only),
        **vars(advice),
    }
    folder.mkdir(parents=True, exist_ok=True)
    remove_left_overs(folder)
    path = folder / MADE_WITH
    if not path.is_file():
        if any(folder.glob("*.png")):
            raise TrainingError(
                f"{folder} has pictures that were not drawn here: choose another output.folder."
            )
        write_text(path, json.dumps(now, indent=1))
        return
    try:
        before = dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path} is damaged: choose another output.folder.") from error
    for name, value in now.items():
        if before.get(name) != value:
            raise TrainingError(
                f"The pictures in {folder} were drawn with {name} = {shown(before.get(name))}, not {shown(value)}: put "
                "it back, or choose another output.folder."
            )
    _LOG.info("going on in %s", folder)


def _batches(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
