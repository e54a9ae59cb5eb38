"""Stage 2: train a transformer on cached latents, whole or as an adapter of a pretrained one, to a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import NoPictureError
from davae_core.files import reason_of, require_finite, write_safetensors
from davae_core.flow import add_noise_apart
from davae_core.latents import ChannelStatistics, ModelSpace
from davae_core.transformer.adapter import write_adapter
from davae_core.transformer.description import Advice
from davae_core.transformer.fingerprint import base_fingerprint

from ..cache.latent_cache import LatentCache
from ..cache.text_states import moved_as
from ..engine.ahead import FilesAhead
from ..engine.checkpointing import MODEL, Contents, RunState, Trained
from ..engine.loaders import read_ahead
from ..engine.loop import run_to
from ..engine.optimizers import build_optimizer
from ..engine.own_folder import own_folder
from ..engine.processes import as_main_finds
from ..engine.progress import progress_bar
from ..engine.room import remove_room, run_room
from ..engine.run import Run
from ..engine.sharding import gather, shard, sharding_wanted
from ..engine.unhurried import unhurried
from ..engine.updates import Parts, synchronised
from ..errors import TrainingError
from .bases import draw_bases
from .batches import LatentBatches, read_in_order
from .class_denoiser import AnyDenoiser
from .config import DitTrainingConfig
from .denoiser import Denoiser, flow_loss
from .drawing import FULL, PictureDecoder, SamplingPlan, draw_detail, draw_latents, write_grid
from .export import DTYPES, adapter_of, lora_file, whole_transformer
from .inputs import check_ramp, check_vae, open_caches, open_held_out
from .noising import NoisedBatch, NoisedBatches
from .start_from import read_start, start_from
from .texts import texts_on
from .transformer import (
    blocks_of,
    build_transformer,
    lower_frozen,
    read_base,
    recompute_blocks,
)
from .validation import ValidationPlan, measure_velocity

_LOG = logging.getLogger(__name__)


def train_dit(config: DitTrainingConfig, stop_at: int | None = None) -> Path | None:
    """Run or resume a stage-2 training; the written file, or None when it stopped early with a checkpoint.

    `stop_at` ends the run after that many steps in all, as an interruption would. Raises TrainingError or
    CheckpointError, one sentence, for what the user can put right.
    """
    # Imported here: it builds on what is in this file.
    from .class_training import ClassTraining

    kind = ClassTraining if config.model.kind == "lightning" else DitTraining
    with own_folder(config.output.folder, "output.folder"):
        # One that is refused removes nothing: on another machine than the first it may be a second start of a run.
        training = kind(config)
        try:
            return run_to(training, stop_at)
        finally:
            remove_room(config.output.folder, config.data.downloads)


class DitTraining(Run[NoisedBatch]):
    """A stage-2 run: everything built from its configuration, and its latest checkpoint loaded when there is one."""

    shown_term = "detail"

    def __init__(self, config: DitTrainingConfig) -> None:
        super().__init__(config, config)
        self.config = config
        self.sharded = sharding_wanted(self.accelerator)
        if self.sharded:
            _check_sharded(config)
        torch.manual_seed(config.train.seed)
        self.room = run_room(config.output.folder, config.data.downloads)
        caches = open_caches(config.data.caches, config.data.in_memory, self.room)
        self._check_agreed(caches, "data.caches")
        head = caches[0].head
        self.layout, self.vae_hash = head.layout, head.vae_hash
        check_vae(config.model.vae, caches[0])
        check_ramp(config, self.layout)
        self.prompts, self.empty = caches[0].prompts(), caches[0].empty_text()
        self.texts = texts_on(self.accelerator.device, config.text, caches[0])
        self.prepare(caches)
        self.space = ModelSpace(self.layout, self.statistics)
        self.held_out = self._held_out(caches)
        data, whole = config.data, self.share.whole
        self.data = LatentBatches(
            caches, whole, config.train.seed, data.caption_dropout, data.window_shards
        )
        self._warn_of_small_buckets()
        self.denoiser = self.placed(self.build_denoiser())
        self.decoder = PictureDecoder(
            config.model.vae, self.layout, self.accelerator.device, self.statistics
        )
        parts = {MODEL: Trained(self.denoiser, build_optimizer(self.denoiser, config.optimizer))}
        self.start(parts, self._fresh_state(caches), "model.base", "data.caches")
        with unhurried():
            self.bases = self._draw_bases()

    def prepare(self, caches: list[LatentCache]) -> None:
        """Read what the run starts from, before its batches and its model are made."""
        self.base = read_base(self.config.model, self.layout.base_channels)
        self.statistics: ChannelStatistics | None = None

    @property
    def pictures(self) -> int:
        """Those in the caches."""
        return len(self.data)

    @property
    def looks_at_start(self) -> bool:
        """As the configuration says."""
        return self.config.validation.at_start

    def batches(self, first_step: int, stop_at: int) -> Iterator[NoisedBatch]:
        """Cached latents and texts, and their noise."""
        parts, config = self.share.parts(first_step, stop_at), self.config
        noised = NoisedBatches(self.data, config.train.seed, config.train.mode, config.loss)
        on_gpu = self.accelerator.device.type == "cuda"
        found = read_in_order(noised, parts, config.data.workers, pinned=on_gpu)
        if not self.accelerator.is_local_main_process or not self.data.is_remote:
            return found
        # What the steps before the last one read has been read by all processes.
        first, behind = first_step * config.train.accumulate, config.train.accumulate
        reach = read_ahead(config.data.workers)
        return FilesAhead(self.data).follow(found, first, behind, reach)

    def backward(self, step: int, batch: NoisedBatch, last: bool) -> Parts:
        """Add the gradients of a micro-batch under noise; its loss terms, detached."""
        config, accelerator, model = self.config, self.accelerator, self.updates.models[MODEL]
        loss, mode = config.loss, config.train.mode
        drawn = (batch.noise, batch.sigma, batch.base_sigma)
        noise, sigma, base_sigma = (t.to(accelerator.device, non_blocking=True) for t in drawn)
        clean = moved_as(batch.clean.latents, noise.device, torch.float32)
        latents = self.space.enter(clean)
        noised = add_noise_apart(latents, noise, base_sigma, sigma, self.layout)
        text = self.denoiser.under(self.texts(batch.clean.text))
        with synchronised(accelerator, model, last):
            # accelerate's own wrapper computes in this precision anyhow; a sharded model has none.
            with accelerator.autocast():
                velocity = model(noised, sigma, *text)
            parts = flow_loss(velocity, latents, noise, sigma, self.layout, loss, step, mode)
            accelerator.backward(parts["loss"] / config.train.accumulate)
        return {name: part.detach() for name, part in parts.items()}

    def validates_at(self, step: int) -> bool:
        """Every so often and at the end, where there is a held-out cache."""
        every = self.config.validation.every
        return self.held_out is not None and (step % every == 0 or step == self.steps)

    def draws_at(self, step: int) -> bool:
        """Every so often and at the end, where the cache has prompts."""
        every = self.config.validation.samples_every
        return bool(self.prompts and every) and (step % every == 0 or step == self.steps)

    def validate(self) -> dict[str, float]:
        """The velocity errors of the held-out cache."""
        assert self.held_out is not None
        return measure_velocity(
            self.denoiser, self.held_out, self.layout, self.accelerator, self.texts
        )

    def draw(self) -> None:
        """One grid over the prompts, full and as a draft from the base channels, which a detail run never changes."""
        # Sharded processes must compute together; otherwise the main one draws alone.
        if not (self.sharded or self.accelerator.is_main_process):
            return
        latents = self._drawn_latents()
        if not self.accelerator.is_main_process:
            return
        # A model that diverged has no pictures; whether to go on is for whoever reads the curves.
        if not torch.isfinite(latents).all():
            _LOG.warning("no pictures after step %d: latents are not finite", self.state.step)
            return
        try:
            decoded = self.decoder.pictures(latents)
        except NoPictureError as error:
            _LOG.warning("no pictures after step %d: %s", self.state.step, reason_of(error))
            return
        # The full ones last: where they are, all are.
        for name in sorted(decoded, key=FULL.__eq__):
            write_grid(self._drawn_file(self.state.step, name), decoded[name])

    def has_drawn(self, step: int) -> bool:
        """Whether the full pictures are there."""
        return self._drawn_file(step, FULL).is_file()

    def _drawn_file(self, step: int, name: str) -> Path:
        return self.pictures_folder / f"step_{step:08d}_{name}.png"

    def _drawn_latents(self) -> Tensor:
        texts, plan = [text for _, text in self.prompts], self.sampling_plan()
        model, layout, device = self.denoiser, self.layout, self.accelerator.device
        main = self.accelerator.is_main_process
        with (
            progress_bar(plan.steps, "drawing", "step", main) as bar,
            self.accelerator.autocast(),
        ):

            def progress(done: int, steps: int) -> None:
                bar.update()

            if self.bases is None:
                return draw_latents(
                    model, texts, self.empty, layout.channels, plan, device, progress=progress
                )
            return draw_detail(
                model, texts, self.empty, self.bases, layout, plan, progress=progress
            )

    def sampling_plan(self) -> SamplingPlan:
        """How pictures are drawn on the way."""
        validation, loss = self.config.validation, self.config.loss
        return SamplingPlan(
            loss.shift if validation.shift is None else validation.shift,
            validation.sampling_steps,
            validation.guidance,
            *self.data.commonest_size,
            validation.guided_below,
        )

    def contents(self) -> Contents:
        """Besides what is trained, what the result also holds: an adapter the edges, a whole model everything."""
        found, trains = super().contents(), self.config.model.train
        if trains == "lora":
            return found
        trained = self.parts[MODEL].weights()
        wanted = {
            name: tensor
            for name, tensor in self.denoiser.state_dict().items()
            if name not in trained
            and (trains == "full" or ".pos_embed.proj." in name or ".proj_out." in name)
        }
        return replace(found, untrained=gather(wanted, self.accelerator.is_main_process))

    def write_beside(self, checkpoint: Path, contents: Contents) -> None:
        """Every checkpoint of an adapter's or a LoRA's training holds it."""
        if self.config.model.train != "full":
            self.write_result(checkpoint / self.target.name, contents)

    def lacks(self, checkpoint: Path) -> bool:
        """Whether a checkpoint of an adapter's or a LoRA's training lacks one of the two."""
        averaged = checkpoint / self.target.name
        both = (averaged, _live(averaged))
        return self.config.model.train != "full" and not all(path.is_file() for path in both)

    def write_result(self, target: Path, contents: Contents) -> dict[str, object]:
        """Write the averaged weights to `target`; those of part of a model live too, beside it as `<name>_live`."""
        live = {**contents.untrained, **contents.weights[MODEL]}
        self.write_weights(target, {**live, **contents.average})
        if self.config.model.train != "full":
            self.write_weights(_live(target), live)
        return {}

    def write_weights(self, target: Path, weights: dict[str, Tensor]) -> None:
        """Write the denoiser's weights, whole ones or an adapter's. Raises CheckpointError."""
        config, dtype = self.config, DTYPES[self.config.output.dtype]
        if config.model.train == "full":
            whole = whole_transformer(weights, dtype)
            require_finite(target, whole)
            write_safetensors(target, whole, {})
            return
        lora = config.model.lora
        if config.model.train == "lora":
            plain = lora_file(weights, lora.alpha / lora.rank, dtype)
            require_finite(target, plain)
            write_safetensors(target, plain, {})
            return
        assert self.base is not None
        parents = {"base": base_fingerprint(self.base), "vae": self.vae_hash}
        adapter = adapter_of(
            weights,
            self.base,
            self.layout,
            lora.alpha / lora.rank,
            self._advice(),
            parents,
            dtype,
            config.train.mode,
        )
        write_adapter(target, adapter)

    def _advice(self) -> Advice:
        plan, factor = self.sampling_plan(), self.layout.factor
        return Advice.of_sizes(
            shift=plan.shift,
            guidance=plan.guidance,
            steps=plan.steps,
            trained=((w * factor, h * factor) for h, w in self.data.buckets),
        )

    def build_denoiser(self) -> AnyDenoiser:
        """The transformer to train, on the CPU. Raises TrainingError when something does not fit together."""
        config, layout = self.config, self.layout
        if config.model.train == "adapter" and not layout.detail_channels:
            raise TrainingError(
                f"model.vae {config.model.vae} has no detail channels, so there is nothing to adapt to: name a DA-VAE, "
                "or set model.train to full."
            )
        if config.model.train == "lora" and layout.detail_channels:
            raise TrainingError(
                "model.train is lora, which is a LoRA of the plain transformer, but data.caches hold a DA-VAE's "
                "latents: make them with vae.kind base_vae, or set model.train to adapter."
            )
        transformer = build_transformer(
            config.model,
            self.base,
            layout.base_channels,
            layout.detail_channels,
            mode=config.train.mode,
        )
        self._start_from(transformer)
        recompute_blocks(transformer, config.train.recomputed_blocks)
        if config.train.precision == "bf16":
            lower_frozen(transformer, torch.bfloat16)
        denoiser = Denoiser(transformer)
        self._check_text(denoiser.pooled_width)
        return denoiser

    def placed(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The denoiser on this process's device, shared among processes or compiled as the run asks."""
        if self.sharded:
            shard(self.accelerator, denoiser, blocks_of(denoiser.transformer))
        else:
            denoiser.to(self.accelerator.device)
        if self.config.train.compile:
            denoiser.compile()
        return denoiser

    def _start_from(self, transformer: nn.Module) -> None:
        """Begin where the adapter ends that `model.start_from` names."""
        config = self.config
        if self.base is None:
            return
        found = read_start(config.model, self.base, self.layout, self.vae_hash, config.train.mode)
        if found is not None:
            start_from(transformer, found, self.base, config.model)

    def _draw_bases(self) -> Tensor | None:
        """What a detail run draws on, in the processes that draw; None for a joint one and without pictures."""
        wanted = bool(self.prompts and self.config.validation.samples_every)
        drawing = self.sharded or self.accelerator.is_main_process
        if self.config.train.mode == "joint" or not (wanted and drawing):
            return None
        assert self.base is not None
        return draw_bases(
            self.config,
            self.base,
            self.layout.base_channels,
            [text for _, text in self.prompts],
            self.empty,
            self.data.commonest_size,
            self.accelerator,
        )

    def _check_text(self, pooled_width: int) -> None:
        found = self.empty.pooled.shape[-1]
        if found != pooled_width:
            remedy = (
                "set model.sizes.pooled_width to that"
                if self.base is None
                else "make data.caches with the text encoders that belong to model.base"
            )
            raise TrainingError(
                f"The caches' text has {found} pooled channels, but the transformer takes {pooled_width}: {remedy}."
            )

    def _held_out(self, caches: list[LatentCache]) -> ValidationPlan | None:
        validation = self.config.validation
        cache = open_held_out(validation, caches, self.config.data.in_memory, self.room)
        if cache is None:
            return None
        self._check_agreed([cache], "validation.cache")
        return ValidationPlan(
            cache,
            validation.pictures,
            self.config.train.batch_size,
            self.config.loss.shift,
            self.config.train.mode,
            self.statistics,
        )

    def _check_agreed(self, caches: list[LatentCache], key: str) -> None:
        """Raise TrainingError when the processes were not brought one and the same version of a cache."""
        states = [None if cache.remote is None else cache.remote.state for cache in caches]
        if any(states) and as_main_finds(self.accelerator, lambda: states) != states:
            raise TrainingError(
                f"A cache at an address in {key} changed while the processes opened it: run the same command again."
            )

    def _warn_of_small_buckets(self) -> None:
        for (height, width), rows in self.data.buckets.items():
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
            pictures=",".join(cache.head.pictures[:16] for cache in caches),
            frozen=self.base_hash(),
            latents=[cache.head.provenance() for cache in caches],
        )

    def base_hash(self) -> str:
        """What the pretrained transformer is known by; empty where the run starts from nothing."""
        return "" if self.base is None else base_fingerprint(self.base)


def _live(averaged: Path) -> Path:
    """Where the weights that are not averaged lie."""
    return averaged.with_stem(f"{averaged.stem}_live")


def _check_sharded(config: DitTrainingConfig) -> None:
    """What FSDP cannot do here. Raises TrainingError."""
    elsewhere = "or launch with configs/accelerate/ddp.yaml."
    kind = config.optimizer.kind
    if kind == "muon":
        raise TrainingError(
            "optimizer.kind is muon, which needs whole matrices, but FSDP leaves each process a part of them: set it "
            f"to adamw, {elsewhere}"
        )
    untried = "which was never tried with FSDP and is refused"
    if kind == "adamw8bit":
        raise TrainingError(f"optimizer.kind is adamw8bit, {untried}: set it to adamw, {elsewhere}")
    if config.train.compile:
        raise TrainingError(f"train.compile is true, {untried}: set it to false, {elsewhere}")
