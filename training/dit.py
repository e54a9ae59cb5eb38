"""Stage 2: train a transformer on cached latents, whole or as an adapter of a pretrained one, to a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from davae_core.adapter import write_adapter
from davae_core.description import Advice
from davae_core.files import CheckpointError, write_safetensors
from davae_core.fingerprint import base_fingerprint

from .checkpointing import CheckpointFolder, RunState, Trained, load_checkpoint, read_state
from .dit_config import DitTrainingConfig
from .dit_data import (
    BatchShare,
    LatentBatch,
    LatentBatches,
    check_alike,
    latent_loader,
    open_caches,
)
from .dit_export import DTYPES, adapter_of, whole_transformer
from .dit_model import Denoiser, FlowObjective
from .dit_sampling import PictureDecoder, SamplingPlan, draw_latents, write_grid
from .dit_stepper import DitStepper
from .dit_validation import ValidationPlan, measure_velocity
from .ema import WeightAverage
from .encoding import latent_space
from .errors import TrainingError
from .interruption import Interruption
from .latent_cache import LatentCache
from .losses import Parts
from .optimizers import build_optimizer
from .resuming import check_resumable
from .running import Window, any_process, make_accelerator, progress_bar
from .tracking import Tracker, write_text
from .transformer import build_transformer, checkpoint_transformer, lower_frozen, read_base
from .yaml_config import flatten

_LOG = logging.getLogger(__name__)


def train_dit(config: DitTrainingConfig, stop_at: int | None = None) -> Path | None:
    """Run or resume a stage-2 training; the written file, or None when it stopped early with a checkpoint.

    `stop_at` ends the run after that many steps in all, as an interruption would. Raises TrainingError or
    CheckpointError, one sentence, for what the user can put right.
    """
    return DitTraining(config).run(
        config.train.steps if stop_at is None else min(stop_at, config.train.steps)
    )


class DitTraining:
    """A stage-2 run: everything built from its configuration, and its latest checkpoint loaded when there is one."""

    def __init__(self, config: DitTrainingConfig) -> None:
        self.config = config
        self.folder = Path(config.output.folder).expanduser()
        self.accelerator = make_accelerator(config.train.device, config.train.precision)
        torch.manual_seed(config.train.seed)
        caches = open_caches(config.data.caches, config.data.in_memory)
        self.space = caches[0].head.space
        self._check_vae()
        self.held_out = self._held_out(caches[0])
        self.prompts, self.empty = caches[0].prompts(), caches[0].empty_text()
        self.share = BatchShare(
            config.train.batch_size,
            config.train.accumulate,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.batches = LatentBatches(
            caches, self.share.whole, config.train.seed, config.data.caption_dropout
        )
        self._warn_of_small_buckets()
        self.layout = self.space.layout
        base_channels = self.space.channels if self.layout is None else self.layout.base_channels
        self.base = read_base(config.model, base_channels)
        self.denoiser = self._build_denoiser(base_channels)
        self.parts = {
            "model": Trained(self.denoiser, build_optimizer(self.denoiser, config.optimizer))
        }
        self.checkpoints = CheckpointFolder(self.folder / "checkpoints", config.output.keep)
        self.average = WeightAverage(self.denoiser, config.optimizer.ema)
        self.state = self._resumed_or_new(caches)
        objective = FlowObjective(config.loss, self.layout)
        self.stepper = DitStepper(self.accelerator, config, objective, self.parts["model"])
        self.decoder = PictureDecoder(config.model.vae, self.space, self.accelerator.device)

    def run(self, stop_at: int) -> Path | None:
        """Train up to `stop_at` steps; at the configured end write the result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tracker = self._tracker()
        with Interruption() as interruption:
            try:
                return self._finish() if self._train(stop_at, tracker, interruption) else None
            finally:
                if tracker is not None:
                    tracker.close()

    def _train(self, stop_at: int, tracker: Tracker | None, interruption: Interruption) -> bool:
        batches = self._batches(stop_at)
        window = Window(self.state)
        output = self.config.output
        with progress_bar(self.accelerator, output.name, self.state.step, stop_at) as bar:
            for step in range(self.state.step, stop_at):
                micro = [next(batches) for _ in range(self.config.train.accumulate)]
                self._after_step(self.stepper.step(step, micro), window)
                last = self.state.step == stop_at
                if self.state.step % output.log_every == 0 or last:
                    bar.set_postfix(self._log(window, tracker), refresh=False)
                bar.update()
                stopping = any_process(self.accelerator, interruption.requested)
                if stopping or last or self.state.step % output.checkpoint_every == 0:
                    window.charge_time(self.state)
                    self._save()
                if stopping:
                    break
                # After the checkpoint: what goes wrong in here must not cost the step.
                self._look(tracker)
        if self.state.step < self.config.train.steps:
            _LOG.info("stopped after step %d; the same command goes on from there", self.state.step)
            return False
        return True

    def _after_step(self, parts: Parts | None, window: Window) -> None:
        self.state.step += 1
        if parts is None:
            self.state.skipped_steps += 1
            _LOG.warning("step %d left out: its gradients were not finite", self.state.step)
            return
        self.average.update()
        window.add(parts)

    def _log(self, window: Window, tracker: Tracker | None) -> dict[str, str]:
        window.charge_time(self.state)
        values = window.means(self.accelerator)
        window.clear()
        if tracker is not None:
            spent = {
                "learning_rate": self.stepper.optimizer.param_groups[0]["lr"],
                "samples": self.state.step * self.share.per_step,
                "cpu_seconds": round(self.state.cpu_seconds, 3),
                "wall_seconds": round(self.state.wall_seconds, 3),
                "skipped_steps": self.state.skipped_steps,
            }
            tracker.write("train", self.state.step, {**values, **spent})
        return {name: f"{values[name]:.4f}" for name in ("loss", "detail") if name in values}

    def _look(self, tracker: Tracker | None) -> None:
        """Validate and draw, with the averaged weights, when it is time."""
        validation, step = self.config.validation, self.state.step
        finished = step == self.config.train.steps
        validate = self.held_out is not None and (step % validation.every == 0 or finished)
        every = validation.samples_every
        draw = bool(self.prompts and every) and (step % every == 0 or finished)
        if not (validate or draw):
            return
        self.denoiser.eval()
        with self.average.applied():
            if validate and self.held_out is not None:
                found = measure_velocity(
                    self.denoiser, self.held_out, self.layout, self.accelerator
                )
                if tracker is not None:
                    tracker.write("validation", step, found)
            if draw and self.accelerator.is_main_process:
                self._draw(self.folder / "pictures")
        self.denoiser.train()
        self.accelerator.wait_for_everyone()

    def _draw(self, folder: Path) -> None:
        """One grid over the prompts, full and as a draft from the base channels."""
        validation = self.config.validation
        shape = self.batches.commonest_size
        plan = SamplingPlan(
            self.config.loss.shift, validation.sampling_steps, validation.guidance, *shape
        )
        with self.accelerator.autocast():
            latents = draw_latents(
                self.denoiser,
                [text for _, text in self.prompts],
                self.empty,
                self.space.channels,
                plan,
                self.accelerator.device,
            )
        for name, pictures in self.decoder.pictures(latents).items():
            write_grid(folder / f"step_{self.state.step:08d}_{name}.png", pictures)

    def _finish(self) -> Path:
        target = self.folder / f"{self.config.output.name}.safetensors"
        if self.accelerator.is_main_process:
            self.write_result(target)
            summary = {"config": flatten(self.config), "state": asdict(self.state)}
            summary["state"].pop("config")
            write_text(target.with_suffix(".json"), json.dumps(summary, indent=1))
            _LOG.info("wrote %s", target)
        self.accelerator.wait_for_everyone()
        return target

    def write_result(self, target: Path) -> None:
        """Write the averaged weights to `target` and, for an adapter, the live ones beside it as `<name>_live`.

        Raises TrainingError when they cannot be written.
        """
        try:
            self._write_weights(target, live=False)
            if self.config.model.train == "adapter":
                self._write_weights(target.with_stem(f"{target.stem}_live"), live=True)
        except CheckpointError as error:
            raise TrainingError(
                f"{error} The checkpoints are untouched; run the same command again."
            ) from error

    def _write_weights(self, target: Path, live: bool) -> None:
        trained = self.parts["model"].weights()
        weights = trained if live else {**trained, **self.average.means}
        config, dtype = self.config, DTYPES[self.config.output.dtype]
        if config.model.train == "full":
            whole = {**self.denoiser.state_dict(), **weights}
            write_safetensors(target, whole_transformer(whole, dtype), {})
            return
        assert self.base is not None and self.layout is not None
        edges = {
            name: tensor
            for name, tensor in self.denoiser.state_dict().items()
            if ".pos_embed.proj." in name or ".proj_out." in name
        }
        lora = config.model.lora
        parents = {"base": base_fingerprint(self.base), "vae": self.space.vae_hash}
        adapter = adapter_of(
            {**edges, **weights},
            self.base,
            self.layout,
            lora.alpha / lora.rank,
            self._advice(),
            parents,
            dtype,
        )
        write_adapter(target, adapter)

    def _advice(self) -> Advice:
        validation = self.config.validation
        sides = sorted({max(size) * self.space.factor for size in self.batches.buckets})
        return Advice(
            shift=self.config.loss.shift,
            guidance=validation.guidance,
            steps=validation.sampling_steps,
            sizes=tuple(sides),
        )

    def _save(self) -> None:
        self.state.average_updates = self.average.updates
        if self.accelerator.is_main_process:
            saved = self.checkpoints.save(self.state, self.average, self.parts)
            if self.config.model.train == "adapter":
                self.write_result(saved / f"{self.config.output.name}.safetensors")
        self.accelerator.wait_for_everyone()

    def _batches(self, stop_at: int) -> Iterator[LatentBatch]:
        parts = self.share.parts(self.state.step, stop_at)
        return iter(latent_loader(self.batches, parts, self.config.data.workers))

    def _build_denoiser(self, base_channels: int) -> Denoiser:
        config = self.config
        detail_channels = 0 if self.layout is None else self.layout.detail_channels
        if config.model.train == "adapter" and not detail_channels:
            raise TrainingError(
                f"model.vae {config.model.vae} has no detail channels, so there is nothing to adapt to: name a DA-VAE, "
                "or set model.train to full."
            )
        transformer = build_transformer(config.model, self.base, base_channels, detail_channels)
        if config.train.gradient_checkpointing:
            checkpoint_transformer(transformer)
        if config.train.precision == "bf16":
            lower_frozen(transformer, torch.bfloat16)
        denoiser = Denoiser(transformer)
        self._check_text(denoiser.pooled_width)
        denoiser.to(self.accelerator.device)
        if config.train.compile:
            denoiser.compile()
        return denoiser

    def _check_text(self, pooled_width: int) -> None:
        found = self.empty.pooled.shape[-1]
        if found != pooled_width:
            raise TrainingError(
                f"The caches' text has {found} pooled channels, but the transformer takes {pooled_width}: make the "
                "cache with the text encoders that belong to model.base, or set model.sizes.pooled_width."
            )

    def _check_vae(self) -> None:
        found = latent_space(self.config.model.vae, self.space.layout is not None)
        if found.vae_hash != self.space.vae_hash:
            raise TrainingError(
                f"data.caches were made with another VAE ({self.space.vae}) than model.vae {self.config.model.vae}: "
                "name that one, or make the caches again."
            )

    def _held_out(self, training: LatentCache) -> ValidationPlan | None:
        validation = self.config.validation
        if validation.cache is None:
            return None
        cache = LatentCache(Path(validation.cache).expanduser(), self.config.data.in_memory)
        check_alike(training, cache)
        return ValidationPlan(
            cache, validation.pictures, self.config.train.batch_size, self.config.loss.shift
        )

    def _warn_of_small_buckets(self) -> None:
        for (height, width), rows in self.batches.buckets.items():
            if len(rows) < self.share.whole:
                factor = self.space.factor
                _LOG.warning(
                    "the bucket %dx%d holds %d of %d pictures that a batch takes: they are repeated in it",
                    width * factor,
                    height * factor,
                    len(rows),
                    self.share.whole,
                )

    def _resumed_or_new(self, caches: list[LatentCache]) -> RunState:
        digest = ",".join(cache.head.pictures[:16] for cache in caches)
        settings = flatten(self.config)
        frozen = "" if self.base is None else base_fingerprint(self.base)
        latest = self.checkpoints.latest()
        if latest is None:
            return RunState(
                samples_per_step=self.share.per_step,
                pictures=digest,
                frozen=frozen,
                config=settings,
            )
        check_resumable(
            read_state(latest), settings, self.share.per_step, frozen, frozen_key="model.base"
        )
        state = load_checkpoint(latest, self.average, self.parts)
        if state.pictures != digest:
            _LOG.warning("the caches changed since %s: the run goes on with the new ones", latest)
        _LOG.info("resuming from %s", latest)
        state.config, state.pictures = settings, digest
        return state

    def _tracker(self) -> Tracker | None:
        if not self.accelerator.is_main_process:
            return None
        return Tracker(self.folder, self.config.output.tensorboard, self.state.step)
