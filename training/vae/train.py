"""Stage 1: train a plain base VAE, or a detail-aligned codec over a pretrained one, to a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from davae_core.files import tensor_hash, write_text

from ..engine.ahead import FilesAhead
from ..engine.checkpointing import MODEL, Contents, RunState, Trained
from ..engine.loaders import read_ahead
from ..engine.loop import run_to
from ..engine.optimizers import build_discriminator_optimizer, build_optimizer
from ..engine.own_folder import own_folder
from ..engine.progress import progress_bar
from ..engine.room import remove_room, run_room
from ..engine.run import Run
from ..engine.sharding import sharding_wanted
from ..engine.updates import Parts
from ..errors import TrainingError
from ..pictures import Unreadable, sets_digest, spelled
from ..tars.patterns import is_tars
from .backward import DISCRIMINATOR, CodecBackward
from .config import VaeTrainingConfig
from .crops import Batch, CropDataset, check_whole, crop_loader, leading_crops
from .discriminator import build_discriminator
from .export import export_trained
from .fitting import fit_codec
from .folders import check_apart
from .gradient_checkpointing import checkpoint_blocks
from .perceptual import build_perceptual
from .small_pictures import pictures_for_crops
from .tar_sets import find_pictures
from .tar_windows import BatchWindows
from .trainees import DetailTrainee, build_trainee
from .validation import HeldOut, means, measure, read_validation_set, write_side_by_side

_LOG = logging.getLogger(__name__)
_FITTED_CROPS = 256


def train_vae(config: VaeTrainingConfig, stop_at: int | None = None) -> Path | None:
    """Run or resume a stage-1 training; the written file, or None when it stopped early with a checkpoint.

    `stop_at` ends the run after that many steps in all, as an interruption would. Raises TrainingError or
    CheckpointError, one sentence, for what the user can put right.
    """
    with own_folder(config.output.folder, "output.folder"):
        # One that is refused removes nothing: on another machine than the first it may be a second start of a run.
        training = VaeTraining(config)
        try:
            return run_to(training, stop_at)
        finally:
            remove_room(config.output.folder, config.data.downloads)


class VaeTraining(Run[Batch]):
    """A stage-1 run: everything built from its configuration, and its latest checkpoint loaded when there is one."""

    shown_term = "l1"

    def __init__(self, config: VaeTrainingConfig) -> None:
        super().__init__(config, config)
        self.config = config
        _check_launch(self.accelerator)
        folders = [entry for entry in config.data.train if not is_tars(entry)]
        check_apart(folders, config.validation.folders, config.output.folder)
        # Before pictures are read and a codec is fitted: its weights are what a newcomer lacks.
        perceptual = build_perceptual(config.loss.perceptual, self.accelerator.device)
        torch.manual_seed(config.train.seed)
        room = run_room(config.output.folder, config.data.downloads)
        found, self.tars = find_pictures(config.data.train, self.folder, room, self.accelerator)
        self.folders = pictures_for_crops(found, config.data, self.folder, self.accelerator)
        self.trainee = build_trainee(
            config.model, config.loss.target == "base_reconstruction", held=config.loss.hold > 0
        )
        _check_crop(config.data.crop, self.trainee.crop_multiple)
        frozen = tensor_hash(self.trainee.frozen_weights())
        held_out = config.validation
        self.held_out = (
            read_validation_set(held_out, self.trainee.crop_multiple) if held_out.folders else ()
        )
        self._rows: dict[Path, Tensor] = {}
        self.dataset = CropDataset(self.folders, config.data, config.train.seed, self.tars)
        parts = self._build_parts()
        self._fit_start()
        fresh = RunState(pictures=sets_digest(self.folders), frozen=frozen)
        frozen_key = "model.start_from" if config.model.start_from else "model.base_vae"
        self.start(parts, fresh, frozen_key=frozen_key, pictures_key="data.train")
        self._backward = CodecBackward(
            self.accelerator, config, parts, self.updates.models, perceptual
        )

    @property
    def pictures(self) -> int:
        """Those in the folders."""
        return sum(len(folder.pictures) for folder in self.folders)

    @property
    def looks_at_start(self) -> bool:
        """As the configuration says."""
        return self.config.validation.at_start

    def batches(self, first_step: int, stop_at: int) -> Iterator[Batch]:
        """Crops, with a warning for every picture that cannot be read."""
        numbers = self.share.samples(first_step, stop_at)
        # The workers start now, before there are threads that bring tar files.
        loader = crop_loader(self.dataset, numbers, self.config.data.workers)
        found: Iterator[Batch] = iter(loader)
        if self.tars.origins and self.accelerator.is_local_main_process:
            # What the steps before the last one read has been read by all processes.
            windows, behind = self.dataset.windows, self.config.train.accumulate
            ahead = FilesAhead(BatchWindows(windows, self.share.whole))
            reach = read_ahead(self.config.data.workers)
            found = ahead.follow(found, first_step * behind, behind, reach)
        return self._checked(found)

    def _checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            check_whole(batch, self.share.size)
            for unreadable in batch.skipped:
                self._note_unreadable(unreadable)
            yield batch

    def backward(self, step: int, batch: Batch, last: bool) -> Parts:
        """Add the gradients of a micro-batch; its unweighted loss terms, detached."""
        return self._backward(step, batch, last)

    def notes(self) -> dict[str, float]:
        """How many pictures could not be read."""
        return {"unreadable_pictures": len(self.state.unreadable)}

    def validates_at(self, step: int) -> bool:
        """Every so often and at the end, where there are held-out pictures."""
        every = self.config.validation.every
        return bool(self.held_out) and (step % every == 0 or step == self.steps)

    def draws_at(self, step: int) -> bool:
        """Side by side whenever held-out pictures are measured."""
        return self.validates_at(step)

    def validate(self) -> dict[str, float]:
        """Means over the held-out pictures, which the processes share among them."""
        started = time.process_time()
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        own = self.held_out[rank::processes]
        shown = [held.path for held in self._shown] if self.accelerator.is_main_process else []
        found = measure(self.trainee, own, self.accelerator.device, shown)
        self._rows = found.rows
        rows = gather_object(found.numbers) if processes > 1 else found.numbers
        spent = round(time.process_time() - started, 3)
        return {**means(rows), "pictures": len(rows), "cpu_seconds": spent}

    def draw(self) -> None:
        """The first held-out pictures side by side with what the codec makes of them."""
        if self.accelerator.is_main_process:
            folder, device = self._drawn_folder(self.state.step), self.accelerator.device
            write_side_by_side(self.trainee, self._shown, device, folder, self._rows)
            self._rows = {}

    @property
    def _shown(self) -> Sequence[HeldOut]:
        return self.held_out[: self.config.validation.side_by_side]

    def has_drawn(self, step: int) -> bool:
        """Whether the folder is there, which has its name when all pictures are in it."""
        return self._drawn_folder(step).is_dir()

    def _drawn_folder(self, step: int) -> Path:
        return self.pictures_folder / f"step_{step:08d}"

    def write_result(self, target: Path, contents: Contents) -> dict[str, object]:
        """Write the codec with the averaged weights; what was measured of it."""
        # It is measured on the first windows.
        self.tars.let_go(())
        with self.average.applied():
            return export_trained(
                self.trainee, self.config, self.dataset, target, self.accelerator.device
            )

    def save(self) -> None:
        """Write a checkpoint, and the list of unreadable pictures."""
        if self.accelerator.num_processes > 1:
            for found in gather_object([self.state.unreadable]):
                self.state.unreadable |= found
        super().save()
        if self.state.unreadable and self.accelerator.is_main_process:
            lines = (f"{path}\t{why}\n" for path, why in sorted(self.state.unreadable.items()))
            write_text(self.folder / "unreadable_pictures.tsv", "".join(lines))

    def _note_unreadable(self, unreadable: Unreadable) -> None:
        path = spelled(unreadable.path)
        if path not in self.state.unreadable:
            self.state.unreadable[path] = unreadable.reason
            _LOG.warning("passing over %s", unreadable.reason)

    def _build_parts(self) -> dict[str, Trained]:
        config, device = self.config, self.accelerator.device
        if config.train.gradient_checkpointing:
            checkpoint_blocks(self.trainee)
        self.trainee.to(device)
        parts = {MODEL: Trained(self.trainee, build_optimizer(self.trainee, config.optimizer))}
        if config.loss.gan.weight:
            critic = build_discriminator(config.loss.gan, config.data.crop).to(device)
            optimizer = build_discriminator_optimizer(critic, config.loss.gan.learning_rate)
            parts[DISCRIMINATOR] = Trained(critic, optimizer)
        if config.train.compile:
            self.trainee.compile()
        return parts

    def _fit_start(self) -> None:
        """Fit a new codec to the first pictures; one that is resumed or trained on has its weights."""
        trainee, model = self.trainee, self.config.model
        init = model.init
        if init == "torch" or model.start_from or not isinstance(trainee, DetailTrainee):
            return
        if self.checkpoints.latest() is None:
            device = self.accelerator.device
            main = self.accelerator.is_main_process

            def crops() -> Iterator[Tensor]:
                with progress_bar(_FITTED_CROPS, "fitting", "crop", main) as bar:
                    for images in leading_crops(self.dataset, self.config, _FITTED_CROPS, device):
                        yield images
                        bar.update(len(images))

            fit_codec(
                trainee.codec,
                crops,
                trainee.detail_learned,
                packed=init == "packed",
            )


def _check_launch(accelerator: Accelerator) -> None:
    if sharding_wanted(accelerator):
        raise TrainingError(
            "The accelerate configuration asks for FSDP, but stage 1 shares nothing between processes: "
            "launch it with configs/accelerate/ddp.yaml."
        )


def _check_crop(crop: int, multiple: int) -> None:
    if crop % multiple:
        raise TrainingError(
            f"data.crop is {crop}, but it must be a multiple of {multiple} for this model."
        )
