"""The stage-2 configuration: one YAML file, a dataclass per section (configs/sd35_paper.yaml explains every key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from davae_core.transformer.description import Mode
from davae_core.transformer.presets import LORA_ALPHA, LORA_RANK

from ..cache.config import TextPrecision
from ..errors import TrainingError
from ..settings.limits import Count, Limits, Share, Weight, Whole
from ..settings.run_config import OptimizerConfig, OutputConfig, TrainConfig
from ..tars.patterns import is_address


@dataclass(frozen=True)
class NewSizesConfig:
    """Sizes of a transformer that starts from nothing; width = 64 * heads, heads = blocks for ComfyUI to know it."""

    blocks: Whole = 3
    dual_blocks: tuple[int, ...] = (0,)
    context_width: Whole = 4096
    pooled_width: Whole = 2048
    positions: Whole = 16

    def __post_init__(self) -> None:
        for block in self.dual_blocks:
            Limits(0, self.blocks - 1).check("model.sizes.dual_blocks", block)


@dataclass(frozen=True)
class LoraConfig:
    """The low-rank part of an adapter."""

    rank: Whole = LORA_RANK
    alpha: Whole = LORA_ALPHA
    targets: tuple[str, ...] = ("published",)

    def __post_init__(self) -> None:
        if not self.targets:
            raise TrainingError(
                "model.lora.targets is empty: name published, wide or layers such as to_q."
            )


@dataclass(frozen=True)
class LightningConfig:
    """A class-conditional model: its sizes where it starts from nothing, what is taken of a pretrained one else."""

    blocks: Whole = 28
    width: Whole = 1152
    heads: Whole = 16
    patch: Whole = 1
    qk_norm: bool | None = None
    weights: Literal["model", "ema"] = "model"
    statistics: str | None = None


@dataclass(frozen=True)
class DitModelConfig:
    """What is trained, from what, and which parts of it."""

    kind: Literal["sd3", "lightning"] = "sd3"
    base: str | None = None
    sizes: NewSizesConfig = field(default_factory=NewSizesConfig)
    vae: str = ""
    train: Literal["adapter", "lora", "full"] = "adapter"
    zero_init: bool = True
    train_edges: bool = True
    start_from: str | None = None
    lora: LoraConfig = field(default_factory=LoraConfig)
    lightning: LightningConfig = field(default_factory=LightningConfig)

    def __post_init__(self) -> None:
        if not self.vae:
            raise TrainingError("model.vae is missing: name the VAE file the cache was made with.")
        if self.kind == "lightning" and self.train != "full":
            raise TrainingError(
                f"model.kind is lightning, which is trained whole, but model.train is {self.train}: set it to full."
            )
        if self.kind == "lightning" and not self.zero_init:
            raise TrainingError(
                "model.kind is lightning, whose new channels start at zero, but model.zero_init is false: set it to "
                "true."
            )
        if self.train != "full" and not self.base:
            called = "an adapter" if self.train == "adapter" else "a LoRA"
            raise TrainingError(
                f"model.base is missing: {called} is trained on a pretrained transformer, so name its file or folder."
            )
        if self.start_from and self.train != "adapter":
            raise TrainingError(
                f"model.start_from names an adapter, but model.train is {self.train}: set it to adapter, or leave "
                "model.start_from empty."
            )


@dataclass(frozen=True)
class DitDataConfig:
    """The caches that training reads."""

    caches: tuple[str, ...] = ()
    caption_dropout: Share = 0.1
    in_memory: bool = False
    workers: Count = 0
    window_shards: Count = 0
    downloads: str | None = None

    def __post_init__(self) -> None:
        if not self.caches:
            raise TrainingError("data.caches is missing: name at least one cache folder.")
        address = next(filter(is_address, self.caches), None)
        if address and not self.window_shards:
            raise TrainingError(
                f"data.caches names {address}, whose shards come here window by window, but data.window_shards is 0: "
                "set it to the number of shards that the disk has room for twice, or copy that cache here."
            )
        if address and self.in_memory:
            raise TrainingError(
                f"data.in_memory is true, but data.caches names {address}, of which only some shards are here at a "
                "time: set it to false, or copy that cache here."
            )
        if self.in_memory and self.workers:
            raise TrainingError(
                "data.in_memory and data.workers are both set, but every worker would hold a copy: use one of them."
            )


@dataclass(frozen=True)
class DitTextConfig:
    """The text encoders of caches whose text.states is live; of no use to others."""

    source: str | None = None
    device: Literal["auto", "cpu"] = "auto"
    precision: TextPrecision = "auto"


@dataclass(frozen=True)
class FlowLossConfig:
    """The rectified-flow loss and its noise levels."""

    weighting: Literal["none", "x0", "published"] = "none"
    levels: Literal["continuous", "published"] = "continuous"
    base_levels: Literal["shared", "own"] = "shared"
    base_noise: Share = 0.0
    shift: Annotated[float, Limits(0.01)] = 4.0
    ramp_steps: Count = 10000
    cosine: Weight = 0.0


@dataclass(frozen=True)
class DitTrainConfig(TrainConfig):
    """What is drawn; length, batch, precision and speed of stage 2."""

    mode: Mode = "joint"
    precision: Literal["fp32", "bf16"] = "bf16"
    recomputed_blocks: Count = 0


@dataclass(frozen=True)
class DitValidationConfig:
    """The held-out cache and the pictures drawn on the way; no cache, no validation loss."""

    cache: str | None = None
    at_start: bool = True
    every: Whole = 1000
    pictures: Whole = 64
    samples_every: Count = 1000
    shift: Annotated[float, Limits(0.01)] | None = None
    guidance: float = 2.5
    guided_below: Share = 1.0
    sampling_steps: Whole = 30


@dataclass(frozen=True)
class DitOutputConfig(OutputConfig):
    """Where everything of stage 2 is written."""

    name: str = "adapter"
    dtype: Literal["fp32", "bf16", "fp16"] = "bf16"


@dataclass(frozen=True)
class DitTrainingConfig:
    """A whole stage-2 run."""

    model: DitModelConfig
    data: DitDataConfig
    output: DitOutputConfig
    text: DitTextConfig = field(default_factory=DitTextConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: DitTrainConfig = field(default_factory=DitTrainConfig)
    validation: DitValidationConfig = field(default_factory=DitValidationConfig)

    def __post_init__(self) -> None:
        if self.model.kind == "lightning" and any(map(is_address, self.data.caches)):
            raise TrainingError(
                "model.kind is lightning, which measures latents of all shards before it starts, but data.caches names "
                "an address: copy that cache here."
            )
        if self.model.start_from and self.loss.ramp_steps:
            raise TrainingError(
                f"loss.ramp_steps is {self.loss.ramp_steps}, but model.start_from names an adapter, whose detail has "
                "its whole weight already: set it to 0."
            )
        if self.train.mode == "detail":
            _check_detail(self.model, self.loss)
        else:
            _check_joint(self.model, self.loss)


def _check_detail(model: DitModelConfig, loss: FlowLossConfig) -> None:
    """Raise TrainingError for settings that are of no use to a detail pass."""
    detail = "but train.mode is detail, where"
    if model.train != "adapter":
        raise TrainingError(
            f"model.train is {model.train}, {detail} the base is drawn by the model that the adapter leaves whole: set "
            "it to adapter."
        )
    if loss.ramp_steps:
        raise TrainingError(
            f"loss.ramp_steps is {loss.ramp_steps}, {detail} the loss has no base to weigh the detail against: set it "
            "to 0."
        )
    if loss.cosine:
        raise TrainingError(
            f"loss.cosine is {loss.cosine}, {detail} it would judge the base too: set it to 0."
        )
    if loss.base_levels != "shared":
        raise TrainingError(
            f"loss.base_levels is {loss.base_levels}, {detail} loss.base_noise says how noisy the base is: set it to "
            "shared."
        )


def _check_joint(model: DitModelConfig, loss: FlowLossConfig) -> None:
    """Raise TrainingError for settings that are of no use where base and detail are drawn together."""
    if loss.base_noise:
        raise TrainingError(
            f"loss.base_noise is {loss.base_noise}, but train.mode is joint, where the base is as noisy as its level "
            "says: set it to 0, or train.mode to detail."
        )
    if loss.base_levels == "own" and model.train != "adapter":
        raise TrainingError(
            f"loss.base_levels is own, but model.train is {model.train}: set one to shared or the other to adapter."
        )
    if loss.base_levels == "own" and loss.weighting != "none":
        raise TrainingError(
            f"loss.weighting is {loss.weighting}, which weighs a sample by its one level, but loss.base_levels is own: "
            "set one to none or the other to shared."
        )
