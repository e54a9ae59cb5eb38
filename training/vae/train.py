"""Stage 1: train a plain base VAE, or a detail-aligned codec over a pretrained one, to a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from davae_core.files import tensor_hash, write_text

from ..engine.checkpointing import CheckpointFolder, RunState, Trained, collect
from ..engine.ema import WeightAverage
from ..engine.loop import run_to, write_summary
from ..engine.optimizers import build_discriminator_optimizer, build_optimizer
from ..engine.resuming import resume_or_start
from ..engine.running import Parts, any_process, make_accelerator
from ..engine.sharding import sharding_wanted
from ..engine.tracking import Tracker
from ..engine.zero import zero_wanted
from ..errors import TrainingError
from ..pictures import Unreadable, folders_digest, scan_folders
from ..settings.run_config import OutputConfig
from ..settings.yaml_config import flatten
from .config import VaeTrainingConfig
from .crops import Batch, CropDataset, Share, check_whole, crop_loader, leading_crops
from .discriminator import build_discriminator
from .export import export_trained
from .fitting import fit_codec
from .folders import check_apart
from .gradient_checkpointing import checkpoint_blocks
from .perceptual import build_perceptual
from .stepper import Stepper
from .trainees import DetailTrainee, build_trainee
from .validation import ValidationSet, means, measure, read_validation_set, write_side_by_side

_LOG = logging.getLogger(__name__)
_FITTED_CROPS = 256


def train_vae(config: VaeTrainingConfig, stop_at: int | None = None) -> Path | None:
    """Run or resume a stage-1 training; the written file, or None when it stopped early with a checkpoint.

    `stop_at` ends the run after that many steps in all, as an interruption would. Raises TrainingError or
    CheckpointError, one sentence, for what the user can put right.
    """
    return VaeTraining(config).run(
        config.train.steps if stop_at is None else min(stop_at, config.train.steps)
    )


class VaeTraining:
    """A stage-1 run: everything built from its configuration, and its latest checkpoint loaded when there is one."""

    def __init__(self, config: VaeTrainingConfig) -> None:
        self.config = config
        self.folder = Path(config.output.folder).expanduser()
        self.accelerator = make_accelerator(config.train.device, config.train.precision)
        _check_launch(self.accelerator)
        torch.manual_seed(config.train.seed)
        check_apart(config.data.train, config.validation.folders, config.output.folder)
        self.folders = scan_folders(config.data.train, "data.train")
        self.trainee = build_trainee(config.model, config.loss.target == "base_reconstruction")
        _check_crop(config.data.crop, self.trainee.crop_multiple)
        self.frozen = tensor_hash(self.trainee.frozen_weights())
        self.validation = self._validation_set()
        self.dataset = CropDataset(self.folders, config.data, config.train.seed)
        self.parts = self._build_parts()
        self.checkpoints = CheckpointFolder(self.folder / "checkpoints", config.output.keep)
        self._fit_start()
        self.share = Share(
            config.train.batch_size,
            config.train.accumulate,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.average = WeightAverage(self.trainee, config.optimizer.ema)
        self.state = resume_or_start(
            self.checkpoints,
            self._fresh_state(),
            self.average,
            self.parts,
            frozen_key="model.base_vae",
            pictures_key="data.train",
        )
        self.stepper = Stepper(
            self.accelerator,
            config,
            self.parts["model"],
            self.parts.get("discriminator"),
            build_perceptual(config.loss.perceptual, self.accelerator.device),
        )
        self._restore_scaler()
        self._batches: Iterator[Batch] = iter(())

    def run(self, stop_at: int) -> Path | None:
        """Train up to `stop_at` steps; at the configured end measure, validate and export."""
        return run_to(self, stop_at)

    @property
    def output(self) -> OutputConfig:
        """Where and how often is written."""
        return self.config.output

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.config.train.steps

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return self.stepper.learning_rate

    @property
    def shown_term(self) -> str:
        """The loss term that the progress bar shows beside the loss."""
        return "l1"

    def begin(self, stop_at: int, tracker: Tracker | None) -> None:
        """Make up for a validation that was missed, and start reading crops for the steps up to `stop_at`."""
        self._validate_if_missed(tracker)
        numbers = self.share.batches(self.state.step, stop_at)
        self._batches = iter(crop_loader(self.dataset, numbers, self.config.data.workers))

    def advance(self, step: int) -> Parts | None:
        """Take step `step` (0-based); its loss terms, None when it was left out."""
        micro = [self._noted(next(self._batches)) for _ in range(self.config.train.accumulate)]
        return self.stepper.step(step, micro)

    def notes(self) -> dict[str, float]:
        """How many pictures could not be read."""
        return {"unreadable_pictures": len(self.state.unreadable)}

    def look(self, tracker: Tracker | None) -> None:
        """Validate with the averaged weights, when it is time."""
        if self._validation_due():
            self._validate(tracker)

    def _validation_due(self) -> bool:
        step = self.state.step
        return self.validation is not None and (
            step % self.config.validation.every == 0 or step == self.config.train.steps
        )

    def _validate_if_missed(self, tracker: Tracker | None) -> None:
        """Make up for a validation that the run was stopped before."""
        if self.state.step == 0 or not self._validation_due():
            return
        if any_process(
            self.accelerator, tracker is not None and not tracker.has("validation", self.state.step)
        ):
            self._validate(tracker)

    def _validate(self, tracker: Tracker | None) -> None:
        assert self.validation is not None
        started = time.process_time()
        device, rank = self.accelerator.device, self.accelerator.process_index
        own = self.validation.pictures[rank :: self.accelerator.num_processes]
        self.trainee.eval()
        with self.average.applied():
            rows = measure(self.trainee, own, device)
            if tracker is not None:
                shown = self.validation.pictures[: self.config.validation.side_by_side]
                folder = self.folder / "pictures" / f"step_{self.state.step:08d}"
                write_side_by_side(self.trainee, shown, device, folder)
        self.trainee.train()
        rows = gather_object(rows) if self.accelerator.num_processes > 1 else rows
        if tracker is not None:
            spent = {"pictures": len(rows), "cpu_seconds": round(time.process_time() - started, 3)}
            tracker.write("validation", self.state.step, {**means(rows), **spent})

    def finish(self, tracker: Tracker | None) -> Path:
        """Write the codec with the averaged weights, what was measured of it and what it was made with."""
        target = self.folder / f"{self.config.output.name}.safetensors"
        if self.accelerator.is_main_process:
            self.trainee.eval()
            with self.average.applied():
                measured = export_trained(
                    self.trainee, self.config, self.dataset, target, self.accelerator.device
                )
            summary = self.folder / f"{self.config.output.name}.json"
            write_summary(summary, flatten(self.config), self.state, {"measured": measured})
            if tracker is not None:
                tracker.replace("export", self.state.step, measured)
            _LOG.info("wrote %s", target)
        self.accelerator.wait_for_everyone()
        return target

    def save(self) -> None:
        """Write a checkpoint, and the list of unreadable pictures."""
        self.state.average_updates = self.average.updates
        self._gather_unreadable()
        if self.accelerator.scaler is not None:
            self.state.scaler = self.accelerator.scaler.state_dict()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.state, collect(self.average, self.parts))
            self._write_unreadable()
        self.accelerator.wait_for_everyone()

    def _gather_unreadable(self) -> None:
        if self.accelerator.num_processes > 1:
            for found in gather_object([self.state.unreadable]):
                self.state.unreadable |= found

    def _write_unreadable(self) -> None:
        if not self.state.unreadable:
            return
        text = "".join(
            f"{path}\t{reason}\n" for path, reason in sorted(self.state.unreadable.items())
        )
        path = self.folder / "unreadable_pictures.tsv"
        write_text(path, text)

    def _noted(self, batch: Batch) -> Batch:
        check_whole(batch, self.share.size)
        for unreadable in batch.skipped:
            self._note_unreadable(unreadable)
        return batch

    def _note_unreadable(self, unreadable: Unreadable) -> None:
        path = str(unreadable.path)
        if path not in self.state.unreadable:
            self.state.unreadable[path] = unreadable.reason
            _LOG.warning("passing over %s", unreadable.reason)

    def _validation_set(self) -> ValidationSet | None:
        if not self.config.validation.folders:
            return None
        found = read_validation_set(self.config.validation, self.trainee.crop_multiple)
        for unreadable in found.unreadable:
            _LOG.warning("validation passes over %s: %s", unreadable.path, unreadable.reason)
        if not found.pictures:
            raise TrainingError(
                "validation.folders hold no picture that can be used: check the folders."
            )
        return found

    def _build_parts(self) -> dict[str, Trained]:
        config = self.config
        if config.train.gradient_checkpointing:
            checkpoint_blocks(self.trainee)
        self.trainee.to(self.accelerator.device)
        parts = {"model": Trained(self.trainee, build_optimizer(self.trainee, config.optimizer))}
        if config.loss.gan.weight:
            critic = build_discriminator(config.loss.gan, config.data.crop)
            critic.to(self.accelerator.device)
            optimizer = build_discriminator_optimizer(critic, config.loss.gan.learning_rate)
            parts["discriminator"] = Trained(critic, optimizer)
        if config.train.compile:
            self.trainee.compile()
        return parts

    def _fit_start(self) -> None:
        """Fit a new codec to the first pictures; a resumed one gets its weights from the checkpoint."""
        trainee = self.trainee
        if self.config.model.init != "good" or not isinstance(trainee, DetailTrainee):
            return
        if self.checkpoints.latest() is None:
            device = self.accelerator.device
            fit_codec(
                trainee.codec,
                lambda: leading_crops(self.dataset, self.config, _FITTED_CROPS, device),
                trainee.detail_learned,
            )

    def _fresh_state(self) -> RunState:
        return RunState(
            samples_per_step=self.share.per_step,
            pictures=folders_digest(self.folders),
            frozen=self.frozen,
            config=flatten(self.config),
        )

    def _restore_scaler(self) -> None:
        if self.accelerator.scaler is not None and self.state.scaler:
            self.accelerator.scaler.load_state_dict(self.state.scaler)


def _check_launch(accelerator: Accelerator) -> None:
    if sharding_wanted(accelerator) or zero_wanted(accelerator):
        raise TrainingError(
            "The accelerate configuration asks for FSDP or DeepSpeed, but stage 1 shares nothing between processes: "
            "launch it with configs/accelerate/ddp.yaml."
        )


def _check_crop(crop: int, multiple: int) -> None:
    if crop % multiple:
        raise TrainingError(
            f"data.crop is {crop}, but it must be a multiple of {multiple} for this model."
        )
