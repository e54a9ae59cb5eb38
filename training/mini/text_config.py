"""The text encoder's configuration: one dataclass per section (every key is explained in configs/mini_clip_l.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import TrainingError
from ..settings.limits import check_least, check_range
from ..settings.run_config import OptimizerConfig, OutputConfig, RunSettings, TrainConfig
from ..settings.yaml_config import read_config

#: Scenes that pictures are judged by have seeds that training never reaches.
HELD_OUT_SEED = 2_000_000


@dataclass(frozen=True)
class TextSizesConfig:
    """Sizes of the text transformer; the picture tower follows from them."""

    hidden_size: int = 64
    layers: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        # The last layer but one is what is read.
        check_least("model.layers", self.layers, 2)
        check_least("model.heads", self.heads, 1)
        if self.hidden_size % self.heads:
            raise TrainingError(
                f"model.hidden_size is {self.hidden_size}, but it must be a multiple of model.heads ({self.heads})."
            )


@dataclass(frozen=True)
class CaptionedConfig:
    """Which captioned scenes are drawn, how many of each family and how large."""

    families: tuple[Literal["scenes", "prompt_scenes"], ...] = ("scenes", "prompt_scenes")
    pictures: int = 3000
    held_out: int = 256
    size: int = 64

    def __post_init__(self) -> None:
        if not self.families:
            raise TrainingError("data.families is missing: name at least one family of scenes.")
        check_range("data.pictures", self.pictures, 1, HELD_OUT_SEED)
        check_least("data.held_out", self.held_out, 2)
        if self.size < 32 or self.size % 16:
            raise TrainingError(
                f"data.size is {self.size}, but it must be a multiple of 16 and at least 32."
            )


@dataclass(frozen=True)
class ContrastConfig:
    """Length, batch and rates of the training."""

    steps: int = 600
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        check_least("train.steps", self.steps, 1)
        check_least("train.batch_size", self.batch_size, 2)
        for name in ("learning_rate", "warmup_steps", "weight_decay"):
            check_least(f"train.{name}", getattr(self, name), 0)
        check_range("train.seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class TextOutputConfig:
    """Where the result goes, and how often a checkpoint is written beside it."""

    file: str = "runs/mini_clip_l.safetensors"
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        check_least("output.checkpoint_every", self.checkpoint_every, 1)


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


def read_text_config(path: Path, overrides: tuple[str, ...] = ()) -> TextTrainingConfig:
    """Read a YAML file, then the overrides (`section.key=value`). Raises TrainingError."""
    return read_config(TextTrainingConfig, path, overrides)
