"""The stage-2 configuration: one YAML file, a dataclass per section (configs/sd35_paper.yaml explains every key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from davae_core.transformer.presets import LORA_ALPHA, LORA_RANK

from ..errors import TrainingError
from ..settings.limits import check_least, check_range
from ..settings.run_config import OptimizerConfig, OutputConfig, TrainConfig
from ..settings.yaml_config import read_config


@dataclass(frozen=True)
class NewSizesConfig:
    """Sizes of a transformer that starts from nothing; width = 64 * heads, heads = blocks for ComfyUI to know it."""

    blocks: int = 3
    dual_blocks: tuple[int, ...] = (0,)
    context_width: int = 4096
    pooled_width: int = 2048
    positions: int = 16

    def __post_init__(self) -> None:
        for name in ("blocks", "context_width", "pooled_width", "positions"):
            check_least(f"model.sizes.{name}", getattr(self, name), 1)
        for block in self.dual_blocks:
            check_range("model.sizes.dual_blocks", block, 0, self.blocks - 1)


@dataclass(frozen=True)
class LoraConfig:
    """The low-rank part of an adapter."""

    rank: int = LORA_RANK
    alpha: int = LORA_ALPHA
    targets: tuple[str, ...] = ("published",)

    def __post_init__(self) -> None:
        check_least("model.lora.rank", self.rank, 1)
        check_least("model.lora.alpha", self.alpha, 1)
        if not self.targets:
            raise TrainingError(
                "model.lora.targets is empty: name published, wide or layers such as to_q."
            )


@dataclass(frozen=True)
class DitModelConfig:
    """What is trained, from what, and which parts of it."""

    base: str | None = None
    sizes: NewSizesConfig = field(default_factory=NewSizesConfig)
    vae: str = ""
    train: Literal["adapter", "full"] = "adapter"
    zero_init: bool = True
    train_edges: bool = True
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        if not self.vae:
            raise TrainingError("model.vae is missing: name the VAE file the cache was made with.")
        if self.train == "adapter" and not self.base:
            raise TrainingError(
                "model.base is missing: an adapter is trained on a pretrained transformer, so name its file or folder."
            )


@dataclass(frozen=True)
class DitDataConfig:
    """The caches that training reads."""

    caches: tuple[str, ...] = ()
    caption_dropout: float = 0.1
    in_memory: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.caches:
            raise TrainingError("data.caches is missing: name at least one cache folder.")
        if self.in_memory and self.workers:
            raise TrainingError(
                "data.in_memory and data.workers are both set, but every worker would hold a copy: use one of them."
            )
        check_range("data.caption_dropout", self.caption_dropout, 0.0, 1.0)
        check_least("data.workers", self.workers, 0)


@dataclass(frozen=True)
class FlowLossConfig:
    """The rectified-flow loss and its noise levels."""

    weighting: Literal["none", "published"] = "none"
    levels: Literal["continuous", "published"] = "continuous"
    shift: float = 4.0
    ramp_steps: int = 10000

    def __post_init__(self) -> None:
        check_least("loss.shift", self.shift, 0.01)
        check_least("loss.ramp_steps", self.ramp_steps, 0)


@dataclass(frozen=True)
class DitTrainConfig(TrainConfig):
    """Length, batch, precision and speed of stage 2."""

    precision: Literal["fp32", "bf16"] = "bf16"


@dataclass(frozen=True)
class DitValidationConfig:
    """The held-out cache and the pictures drawn on the way; no cache, no validation loss."""

    cache: str | None = None
    every: int = 1000
    pictures: int = 64
    samples_every: int = 1000
    guidance: float = 2.5
    sampling_steps: int = 30

    def __post_init__(self) -> None:
        for name in ("every", "pictures", "sampling_steps"):
            check_least(f"validation.{name}", getattr(self, name), 1)
        check_least("validation.samples_every", self.samples_every, 0)


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
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: DitTrainConfig = field(default_factory=DitTrainConfig)
    validation: DitValidationConfig = field(default_factory=DitValidationConfig)


def read_dit_config(path: Path, overrides: tuple[str, ...] = ()) -> DitTrainingConfig:
    """The stage-2 configuration in a YAML file; `overrides` are `section.key=value` strings.

    Raises TrainingError, one sentence, for anything that is not a valid configuration.
    """
    return read_config(DitTrainingConfig, path, overrides)
