"""The sections that both stages share: optimizer, length and precision, and where everything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import TrainingError
from .limits import Count, Decay, Seed, Share, Weight, Whole, check_plain_name


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer, learning-rate schedule, clipping and EMA."""

    kind: Literal["muon", "adamw", "adamw8bit"] = "adamw"
    learning_rate: Weight = 1e-4
    adamw_ratio: Weight = 0.3
    momentum: Decay = 0.95
    betas: tuple[Decay, ...] = (0.9, 0.99)
    weight_decay: Weight = 0.0
    warmup_steps: Count = 0
    final_ratio: Share = 0.1
    clip_norm: Weight = 1.0
    ema: Decay = 0.999

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise TrainingError(
                f"optimizer.betas has {len(self.betas)} numbers, but AdamW takes two."
            )


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and speed."""

    steps: Whole = 1000
    batch_size: Whole = 4
    accumulate: Whole = 1
    seed: Seed = 0
    device: Literal["auto", "cpu"] = "auto"
    precision: str = "fp32"
    compile: bool = False


@dataclass(frozen=True)
class OutputConfig:
    """Where everything is written."""

    folder: str = ""
    name: str = "result"
    checkpoint_every: Whole = 1000
    keep: Whole = 3
    log_every: Whole = 10
    tensorboard: bool = True
    wandb: str | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        if not self.folder:
            raise TrainingError(
                "output.folder is missing: name the folder for checkpoints, logs and the result."
            )
        check_plain_name("output.name", self.name)


class RunSettings(Protocol):
    """The sections that every training has."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """Optimizer, schedule, clipping and EMA."""

    @property
    def train(self) -> TrainConfig:
        """Length, batch, precision and speed."""

    @property
    def output(self) -> OutputConfig:
        """Where everything is written."""
