"""The configuration of a set of samples (configs/imagenet_samples.yaml explains every key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..errors import TrainingError
from ..settings.limits import Limits, Seed, Share, Whole

MOST_SAMPLES = 10**7


@dataclass(frozen=True)
class SampledModelConfig:
    """What draws, and what makes pictures of what is drawn."""

    file: str = ""
    vae: str = ""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if not value:
                raise TrainingError(f"model.{key} is missing: name the file.")


@dataclass(frozen=True)
class SamplesConfig:
    """Which pictures, and how they are drawn; None is what the model's file advises."""

    count: Annotated[int, Limits(1, MOST_SAMPLES)] = 50_000
    classes: Literal["random", "even"] = "random"
    only: tuple[int, ...] = ()
    seed: Seed = 0
    steps: Whole | None = None
    shift: Annotated[float, Limits(0.001)] | None = None
    guidance: float | None = None
    guided_below: Share | None = None


@dataclass(frozen=True)
class SampleWorkConfig:
    """How the work is done."""

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    batch_size: Whole = 64


@dataclass(frozen=True)
class SampleOutputConfig:
    """Where the pictures are written."""

    folder: str = ""

    def __post_init__(self) -> None:
        if not self.folder:
            raise TrainingError("output.folder is missing: name the folder for the pictures.")


@dataclass(frozen=True)
class SampleConfig:
    """A whole set of samples."""

    model: SampledModelConfig
    output: SampleOutputConfig
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    work: SampleWorkConfig = field(default_factory=SampleWorkConfig)
