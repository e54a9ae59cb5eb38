"""What a stage-2 run would take, without running it: `python -m training dit CONFIG --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from davae_core.lightning.model import LightningDiT
from davae_core.lightning.sizes import LightningSizes
from davae_core.transformer.sizes import TransformerSizes, transformer_sizes

from ..cache.latent_cache import LatentCache
from ..engine.room import passing_room
from ..engine.share import Share
from .batches import LatentBatches
from .class_model import read_class_base, sizes_of_run
from .config import DitTrainingConfig
from .inputs import open_caches
from .start_from import check_lora, read_start
from .transformer import build_transformer, new_sizes, read_base, recompute_blocks

GIB = 2**30
# Bytes a 16-bit block keeps per token and channel for its backward pass, attention itself not stored: 55 to 63 were
# counted in SD3.5 Medium with its LoRA (benchmarks/training_kept.py). A recomputed block keeps its input.
_KEPT, _KEPT_RECOMPUTED = 60, 2
# Optimizer states in multiples of a float32 weight.
_STATES = {"adamw": 2.0, "adamw8bit": 0.5, "muon": 1.0}


@dataclass(frozen=True)
class RunPlan:
    """Parameters that train and that stay frozen, tokens of the largest picture and of a caption, steps, bytes.

    With the weights go the model's tables, which stay in float32: SD3.5's of positions has 864 MiB. The bytes are those
    of one process that has the whole model, without the text encoders that it needs if `live_text`.
    """

    trainable: int
    frozen: int
    picture_tokens: int
    text_tokens: int
    pictures: int
    processes: int
    steps_per_epoch: float
    weights_bytes: int
    activations_bytes: int
    live_text: bool = False

    def lines(self) -> tuple[str, ...]:
        """The plan in words."""
        total = self.weights_bytes + self.activations_bytes
        spread = self.processes > 1
        with_all = f" with {self.processes} processes" if spread else ""
        lines = (
            f"Trainable parameters: {self.trainable:,} of {self.trainable + self.frozen:,}.",
            f"Tokens: {self.picture_tokens} of the largest picture, {self.text_tokens} of its caption.",
            f"Steps per epoch: {self.steps_per_epoch:.1f} over {self.pictures:,} pictures{with_all}.",
            f"Memory per process (an estimate): {total / GIB:.2f} GiB, of which {self.weights_bytes / GIB:.2f} "
            f"weights, gradients, optimizer and average, {self.activations_bytes / GIB:.2f} activations.",
        )
        unshared = (
            "This memory is for the whole model in every process; what FSDP shares takes less."
        )
        encoders = (
            "The caches hold no text states, so the text encoders are in memory besides: 11 GB in bfloat16 where they "
            "are Stable Diffusion 3's (an estimate), on the processor with text.device=cpu."
        )
        return (
            *lines,
            *([unshared] if spread else []),
            *([encoders] if self.live_text else []),
        )


def plan_run(config: DitTrainingConfig, processes: int = 1) -> RunPlan:
    """The plan of a run over `processes` processes. Raises TrainingError or CheckpointError, as the run would.

    Of the files it opens model.base, model.start_from and data.caches; `check_inputs` opens the others.
    """
    with passing_room(config.data.downloads) as room:
        caches = open_caches(config.data.caches, False, room)
    sizes: TransformerSizes | LightningSizes
    if config.model.kind == "lightning":
        sizes, model = _class_model(config, caches)
    else:
        sizes, model = _sd3_model(config, caches)
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    share = Share(config.train.batch_size, config.train.accumulate, 0, processes)
    data, seed = config.data, config.train.seed
    batches = LatentBatches(caches, share.whole, seed, data.caption_dropout, data.window_shards)
    tokens = max(-(-h // sizes.patch) * -(-w // sizes.patch) for h, w in batches.buckets)
    text = 0 if config.model.kind == "lightning" else _text_tokens(caches[0])
    return RunPlan(
        trainable=counts[True],
        frozen=counts[False],
        picture_tokens=tokens,
        text_tokens=text,
        pictures=len(batches),
        processes=processes,
        steps_per_epoch=batches.per_epoch / config.train.accumulate,
        weights_bytes=_weights_bytes(config, counts) + buffers,
        activations_bytes=_activations_bytes(config, sizes, tokens + text),
        live_text=not caches[0].has_texts,
    )


def _sd3_model(
    config: DitTrainingConfig, caches: Sequence[LatentCache]
) -> tuple[TransformerSizes, nn.Module]:
    head = caches[0].head
    layout, mode = head.layout, config.train.mode
    channels = layout.base_channels
    base = read_base(config.model, channels)
    sizes = new_sizes(config.model, channels) if base is None else transformer_sizes(base)
    with torch.device("meta"):
        model = build_transformer(config.model, None, channels, layout.detail_channels, sizes, mode)
        recompute_blocks(model, config.train.recomputed_blocks)
    start = None if base is None else read_start(config.model, base, layout, head.vae_hash, mode)
    if start is not None:
        check_lora(model, start, config.model)
    return sizes, model


def _class_model(
    config: DitTrainingConfig, caches: Sequence[LatentCache]
) -> tuple[LightningSizes, nn.Module]:
    sizes = sizes_of_run(
        config.model, caches, read_class_base(config.model, caches[0].head.layout.base_channels)
    )
    with torch.device("meta"):
        model = LightningDiT(sizes)
        recompute_blocks(model, config.train.recomputed_blocks)
    return sizes, model


def _text_tokens(cache: LatentCache) -> int:
    empty = cache.empty_text()
    return empty.clip.shape[1] + (0 if empty.t5 is None else empty.t5.shape[1])


def _weights_bytes(config: DitTrainingConfig, counts: dict[bool, int]) -> int:
    frozen = 2 if config.train.precision == "bf16" else 4
    # Weight, gradient and average in float32, and the optimizer's states.
    copies = 3 + _STATES[config.optimizer.kind]
    return counts[False] * frozen + int(counts[True] * 4 * copies)


def _activations_bytes(
    config: DitTrainingConfig, sizes: TransformerSizes | LightningSizes, tokens: int
) -> int:
    width = (
        tokens
        * config.train.batch_size
        * sizes.width
        * (1 if config.train.precision == "bf16" else 2)
    )
    recomputed = config.train.recomputed_blocks
    at_the_end = _KEPT_RECOMPUTED * recomputed + _KEPT * (sizes.blocks - recomputed)
    # The recomputed ones come last in the backward pass, one at a time, when the others' activations are gone.
    while_recomputing = _KEPT_RECOMPUTED * recomputed + _KEPT if recomputed else 0
    return width * max(at_the_end, while_recomputing)
