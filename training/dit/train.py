"""Stage 2: train a transformer on cached latents, whole or as an adapter of a pretrained one, to a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import CheckpointError, write_safetensors
from davae_core.transformer.adapter import write_adapter
from davae_core.transformer.description import Advice
from davae_core.transformer.fingerprint import base_fingerprint

from ..cache.encoding import latents_of
from ..cache.latent_cache import LatentCache
from ..engine.checkpointing import CheckpointFolder, Contents, RunState, Trained, collect
from ..engine.ema import WeightAverage
from ..engine.loop import run_to, write_summary
from ..engine.optimizers import build_optimizer
from ..engine.resuming import resume_or_start
from ..engine.running import Parts, any_process, make_accelerator
from ..engine.sharding import gather, release, shard, sharding_wanted
from ..engine.tracking import Tracker
from ..engine.zero import partition, zero_wanted
from ..errors import TrainingError
from ..settings.run_config import OutputConfig
from ..settings.yaml_config import flatten
from .batches import BatchShare, LatentBatch, LatentBatches, check_alike, latent_loader, open_caches
from .config import DitTrainingConfig
from .denoiser import Denoiser, FlowObjective
from .export import DTYPES, adapter_of, whole_transformer
from .sampling import PictureDecoder, SamplingPlan, draw_latents, write_grid
from .stepper import DitStepper
from .transformer import build_transformer, checkpoint_transformer, lower_frozen, read_base
from .validation import ValidationPlan, measure_velocity

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
        self.sharded, zero = sharding_wanted(self.accelerator), zero_wanted(self.accelerator)
        if self.sharded or zero:
            _check_spread(config)
        torch.manual_seed(config.train.seed)
        caches = open_caches(config.data.caches, config.data.in_memory)
        head = caches[0].head
        self.layout, self.vae_hash = head.layout, head.vae_hash
        self._check_vae(head.vae)
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
        self.base = read_base(config.model, self.layout.base_channels)
        self.denoiser = self._build_denoiser()
        self.parts = {"model": self._trained(zero)}
        self.checkpoints = CheckpointFolder(self.folder / "checkpoints", config.output.keep)
        self.average = WeightAverage(self.denoiser, config.optimizer.ema)
        self.state = resume_or_start(
            self.checkpoints,
            self._fresh_state(caches),
            self.average,
            self.parts,
            frozen_key="model.base",
            pictures_key="data.caches",
        )
        objective = FlowObjective(config.loss, self.layout)
        self.stepper = DitStepper(self.accelerator, config, objective, self.parts["model"])
        self.decoder = PictureDecoder(config.model.vae, self.layout, self.accelerator.device)
        self._batches: Iterator[LatentBatch] = iter(())

    def run(self, stop_at: int) -> Path | None:
        """Train up to `stop_at` steps; at the configured end write the result."""
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
        return "detail"

    def begin(self, stop_at: int, tracker: Tracker | None) -> None:
        """Make up for a validation that the run was stopped before, and start reading batches up to `stop_at`."""
        if self.held_out is not None and self.state.step:
            step = self.state.step
            if any_process(
                self.accelerator, tracker is not None and not tracker.has("validation", step)
            ):
                self.look(tracker)
        parts = self.share.parts(self.state.step, stop_at)
        self._batches = iter(latent_loader(self.batches, parts, self.config.data.workers))

    def advance(self, step: int) -> Parts | None:
        """Take step `step` (0-based); its loss terms, None when it was left out."""
        micro = [next(self._batches) for _ in range(self.config.train.accumulate)]
        return self.stepper.step(step, micro)

    def notes(self) -> dict[str, float]:
        """Nothing beyond what every log says."""
        return {}

    def look(self, tracker: Tracker | None) -> None:
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
            # Sharded processes must compute together; otherwise the main one draws alone.
            if draw and (self.sharded or self.accelerator.is_main_process):
                self._draw(self.folder / "pictures")
            release(self.denoiser)
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
                self.layout.channels,
                plan,
                self.accelerator.device,
            )
        if not self.accelerator.is_main_process:
            return
        for name, pictures in self.decoder.pictures(latents).items():
            write_grid(folder / f"step_{self.state.step:08d}_{name}.png", pictures)

    def finish(self, tracker: Tracker | None) -> Path:
        """Write the result and what it was made with."""
        target = self.folder / f"{self.config.output.name}.safetensors"
        contents = collect(self.average, self.parts, self.accelerator.is_main_process)
        untrained = self._untrained()
        if self.accelerator.is_main_process:
            self._write_result(target, contents, untrained)
            write_summary(target.with_suffix(".json"), flatten(self.config), self.state, {})
            _LOG.info("wrote %s", target)
        self.accelerator.wait_for_everyone()
        return target

    def save(self) -> None:
        """Write a checkpoint, with its adapter."""
        self.state.average_updates = self.average.updates
        contents = collect(self.average, self.parts, self.accelerator.is_main_process)
        untrained = self._untrained() if self.config.model.train == "adapter" else {}
        if self.accelerator.is_main_process:
            saved = self.checkpoints.save(self.state, contents)
            if self.config.model.train == "adapter":
                target = saved / f"{self.config.output.name}.safetensors"
                self._write_result(target, contents, untrained)
        self.accelerator.wait_for_everyone()

    def _untrained(self) -> dict[str, Tensor]:
        """What a result holds beside trained weights: for an adapter the edges, else everything; main process only."""
        trained, adapter = self.parts["model"].weights(), self.config.model.train == "adapter"
        wanted = {
            name: tensor
            for name, tensor in self.denoiser.state_dict().items()
            if name not in trained
            and (not adapter or ".pos_embed.proj." in name or ".proj_out." in name)
        }
        return gather(wanted, self.accelerator.is_main_process)

    def _write_result(self, target: Path, contents: Contents, untrained: dict[str, Tensor]) -> None:
        """Write the averaged weights to `target` and, for an adapter, the live ones beside it as `<name>_live`."""
        live = {**untrained, **contents.weights["model"]}
        try:
            self._write_weights(target, {**live, **contents.average})
            if self.config.model.train == "adapter":
                self._write_weights(target.with_stem(f"{target.stem}_live"), live)
        except CheckpointError as error:
            raise TrainingError(
                f"{error} The checkpoints are untouched; run the same command again."
            ) from error

    def _write_weights(self, target: Path, weights: dict[str, Tensor]) -> None:
        config, dtype = self.config, DTYPES[self.config.output.dtype]
        if config.model.train == "full":
            write_safetensors(target, whole_transformer(weights, dtype), {})
            return
        assert self.base is not None
        lora = config.model.lora
        parents = {"base": base_fingerprint(self.base), "vae": self.vae_hash}
        adapter = adapter_of(
            weights,
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
        sides = sorted({max(size) * self.layout.factor for size in self.batches.buckets})
        return Advice(
            shift=self.config.loss.shift,
            guidance=validation.guidance,
            steps=validation.sampling_steps,
            sizes=tuple(sides),
        )

    def _build_denoiser(self) -> Denoiser:
        config, layout = self.config, self.layout
        if config.model.train == "adapter" and not layout.detail_channels:
            raise TrainingError(
                f"model.vae {config.model.vae} has no detail channels, so there is nothing to adapt to: name a DA-VAE, "
                "or set model.train to full."
            )
        transformer = build_transformer(
            config.model, self.base, layout.base_channels, layout.detail_channels
        )
        if config.train.gradient_checkpointing:
            checkpoint_transformer(transformer)
        if config.train.precision == "bf16":
            lower_frozen(transformer, torch.bfloat16)
        denoiser = Denoiser(transformer)
        self._check_text(denoiser.pooled_width)
        if self.sharded:
            shard(
                self.accelerator,
                denoiser,
                transformer.get_submodule("transformer_blocks").children(),
            )
        else:
            denoiser.to(self.accelerator.device)
        if config.train.compile:
            denoiser.compile()
        return denoiser

    def _trained(self, zero: bool) -> Trained:
        config = self.config
        optimizer = build_optimizer(self.denoiser, config.optimizer)
        if not zero:
            return Trained(self.denoiser, optimizer)
        train = config.train
        return partition(
            self.accelerator,
            self.denoiser,
            optimizer,
            train.batch_size,
            train.accumulate,
            config.optimizer.clip_norm,
        )

    def _check_text(self, pooled_width: int) -> None:
        found = self.empty.pooled.shape[-1]
        if found != pooled_width:
            raise TrainingError(
                f"The caches' text has {found} pooled channels, but the transformer takes {pooled_width}: make the "
                "cache with the text encoders that belong to model.base, or set model.sizes.pooled_width."
            )

    def _check_vae(self, cached: str) -> None:
        vae, detail = self.config.model.vae, self.layout.detail_channels > 0
        if latents_of(vae, detail, "model.vae")[1] != self.vae_hash:
            raise TrainingError(
                f"data.caches were made with another VAE ({cached}) than model.vae {vae}: "
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
                factor = self.layout.factor
                _LOG.warning(
                    "the bucket %dx%d holds %d of %d pictures that a batch takes: they are repeated in it",
                    width * factor,
                    height * factor,
                    len(rows),
                    self.share.whole,
                )

    def _fresh_state(self, caches: list[LatentCache]) -> RunState:
        return RunState(
            samples_per_step=self.share.per_step,
            pictures=",".join(cache.head.pictures[:16] for cache in caches),
            frozen="" if self.base is None else base_fingerprint(self.base),
            latents=[cache.head.provenance() for cache in caches],
            config=flatten(self.config),
        )


def _check_spread(config: DitTrainingConfig) -> None:
    """What neither FSDP nor DeepSpeed can do here. Raises TrainingError."""
    elsewhere = "or launch with configs/accelerate/ddp.yaml."
    kind = config.optimizer.kind
    if kind == "muon":
        raise TrainingError(
            "optimizer.kind is muon, which needs whole matrices, but FSDP and DeepSpeed leave each process a part of "
            f"them: set it to adamw, {elsewhere}"
        )
    untried = "which was never tried with FSDP or DeepSpeed and is refused"
    if kind == "adamw8bit":
        raise TrainingError(f"optimizer.kind is adamw8bit, {untried}: set it to adamw, {elsewhere}")
    if config.train.compile:
        raise TrainingError(f"train.compile is true, {untried}: set it to false, {elsewhere}")
