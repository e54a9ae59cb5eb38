"""The text encoder's configuration: one dataclass per section (every key is explained in configs/mini_clip_l.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..errors import TrainingError
from ..settings.limits import Count, Limits, Seed, Weight, Whole
from ..settings.run_config import OptimizerConfig, OutputConfig, RunSettings, TrainConfig

#: Scenes that pictures are judged by have seeds that training never reaches.
HELD_OUT_SEED = 2_000_000


@dataclass(frozen=True)
class TextSizesConfig:
    """Sizes of the text transformer; the picture tower follows from them."""

    hidden_size: int = 64
    # The last layer but one is what is read.
    layers: Annotated[int, Limits(2)] = 4
    heads: Whole = 4

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise TrainingError(
                f"model.hidden_size is {self.hidden_size}, but it must be a multiple of model.heads ({self.heads})."
            )


@dataclass(frozen=True)
class CaptionedConfig:
    """Which captioned scenes are drawn, how many of each family and how large."""

    families: tuple[Literal["scenes", "prompt_scenes"], ...] = ("scenes", "prompt_scenes")
    pictures: Annotated[int, Limits(1, HELD_OUT_SEED)] = 3000
    held_out: Annotated[int, Limits(2)] = 256
    size: int = 64

    def __post_init__(self) -> None:
        if not self.families:
            raise TrainingError("data.families is missing: name at least one family of scenes.")
        if self.size < 32 or self.size % 16:
            raise TrainingError(
                f"data.size is {self.size}, but it must be a multiple of 16 and at least 32."
            )


@dataclass(frozen=True)
class ContrastConfig:
    """Length, batch and rates of the training."""

    steps: Whole = 600
    batch_size: Annotated[int, Limits(2)] = 128
    learning_rate: Weight = 1e-3
    warmup_steps: Count = 50
    weight_decay: Weight = 0.05
    seed: Seed = 0


@dataclass(frozen=True)
class TextOutputConfig:
    """Where the result goes, and how often a checkpoint is written beside it."""

    file: str = "runs/mini_clip_l.safetensors"
    checkpoint_every: Whole = 100


@dataclass(frozen=True)
class TextTrainingConfig:
    """Everything that `python -m training text` reads."""

    model: TextSizesConfig = field(default_factory=TextSizesConfig)
    data: CaptionedConfig = field(default_factory=CaptionedConfig)
    train: ContrastConfig = field(default_factory=ContrastConfig)
    output: TextOutputConfig = field(default_factory=TextOutputConfig)

    def settings(self) -> RunSettings:
        """What engine/run.py asks of it: a constant-size run on the CPU, of which the last weights count."""
        train, file = self.train, Path(self.output.file)
        return TextRunSettings(
            OptimizerConfig(
                learning_rate=train.learning_rate,
                warmup_steps=train.warmup_steps,
                final_ratio=0.01,
                ema=0.0,
            ),
            TrainConfig(
                steps=train.steps, batch_size=train.batch_size, seed=train.seed, device="cpu"
            ),
            OutputConfig(
                folder=str(file.with_name(f"{file.stem}_run")),
                name=file.stem,
                checkpoint_every=self.output.checkpoint_every,
                keep=1,
                tensorboard=False,
            ),
        )


@dataclass(frozen=True)
class TextRunSettings:
    """The sections that every training has, as the text encoder's configuration and CLIP's own habits fill them."""

    optimizer: OptimizerConfig
    train: TrainConfig
    output: OutputConfig
