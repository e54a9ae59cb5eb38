"""The sections that both stages share: optimizer, length and precision, and where everything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import TrainingError
from .limits import check_least, check_plain_name, check_range


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer, learning-rate schedule, clipping and EMA."""

    kind: Literal["muon", "adamw", "adamw8bit"] = "adamw"
    learning_rate: float = 1e-4
    adamw_ratio: float = 0.3
    momentum: float = 0.95
    betas: tuple[float, ...] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    final_ratio: float = 0.1
    clip_norm: float = 1.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise TrainingError(
                f"optimizer.betas has {len(self.betas)} numbers, but AdamW takes two."
            )
        for beta in self.betas:
            check_range("optimizer.betas", beta, 0.0, 0.999999)
        for name in ("learning_rate", "adamw_ratio", "weight_decay", "warmup_steps", "clip_norm"):
            check_least(f"optimizer.{name}", getattr(self, name), 0)
        check_range("optimizer.momentum", self.momentum, 0.0, 0.999999)
        check_range("optimizer.ema", self.ema, 0.0, 0.999999)
        check_range("optimizer.final_ratio", self.final_ratio, 0.0, 1.0)


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and speed."""

    steps: int = 1000
    batch_size: int = 4
    accumulate: int = 1
    seed: int = 0
    device: Literal["auto", "cpu"] = "auto"
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            check_least(f"train.{name}", getattr(self, name), 1)
        check_range("train.seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class OutputConfig:
    """Where everything is written."""

    folder: str = ""
    name: str = "result"
    checkpoint_every: int = 1000
    keep: int = 3
    log_every: int = 10
    tensorboard: bool = True
    wandb: str | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        if not self.folder:
            raise TrainingError(
                "output.folder is missing: name the folder for checkpoints, logs and the result."
            )
        check_plain_name("output.name", self.name)
        for name in ("checkpoint_every", "keep", "log_every"):
            check_least(f"output.{name}", getattr(self, name), 1)


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
