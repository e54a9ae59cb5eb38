"""The stage-1 configuration: one YAML file, one dataclass per section (configs/paper.yaml explains every key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import TrainingError
from ..settings.limits import check_least, check_range
from ..settings.run_config import OptimizerConfig, OutputConfig, TrainConfig
from ..settings.yaml_config import read_config


@dataclass(frozen=True)
class SizesConfig:
    """Deviations from the preset's sizes; None keeps the preset's."""

    widths: tuple[int, ...] | None = None
    res_blocks: int | None = None
    norm_groups: int | None = None
    base_channels: int | None = None
    detail_channels: int | None = None
    ratio: int | None = None

    def __post_init__(self) -> None:
        for width in self.widths or ():
            check_least("model.sizes.widths", width, 1)
        for name in ("res_blocks", "norm_groups", "base_channels", "detail_channels", "ratio"):
            value = getattr(self, name)
            if value is not None:
                check_least(f"model.sizes.{name}", value, 1)


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, from what, and which parts of it."""

    kind: Literal["base_vae", "davae"] = "davae"
    preset: Literal["sd3", "imagenet", "mini"] = "sd3"
    sizes: SizesConfig = field(default_factory=SizesConfig)
    init: Literal["good", "torch"] = "good"
    base_vae: str | None = None
    base_shift: float | None = None
    base_scale: float | None = None
    trunk: Literal["frozen", "trained"] = "frozen"
    detail: Literal["learned", "zero"] = "learned"
    detail_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.kind == "davae" and not self.base_vae:
            raise TrainingError(
                "model.base_vae is missing: a davae grows from a pretrained VAE, so name its file, folder or Hugging "
                "Face id."
            )
        if self.detail == "zero" and self.trunk == "trained":
            raise TrainingError(
                "model.trunk is trained while model.detail is zero: nothing reads the trunk then, so set "
                "model.trunk to frozen."
            )
        if self.base_scale == 0:
            raise TrainingError(
                "model.base_scale is 0, which wipes the base latent out: give another number or leave it empty."
            )
        check_range("model.detail_dropout", self.detail_dropout, 0.0, 0.99)


@dataclass(frozen=True)
class DataConfig:
    """Where the training pictures are and how crops are cut from them."""

    train: tuple[str, ...] = ()
    shares: tuple[float, ...] | None = None
    crop: int = 256
    window: Literal["pixels", "fraction"] = "fraction"
    scale: tuple[float, ...] = (0.8, 1.0)
    flip: bool = True
    cache_mb: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.train:
            raise TrainingError(
                "data.train is missing: name at least one folder of training pictures."
            )
        if self.shares is not None and (
            len(self.shares) != len(self.train) or min(self.shares) <= 0
        ):
            raise TrainingError(
                f"data.shares has {len(self.shares)} numbers for {len(self.train)} folders in data.train: give one "
                "positive number per folder, or leave it out."
            )
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise TrainingError(
                f"data.scale is {list(self.scale)}, but it must be two positive numbers, smaller first."
            )
        if self.window == "fraction" and self.scale[1] > 1:
            raise TrainingError(
                f"data.scale reaches {self.scale[1]}, but a window cannot be larger than the picture: "
                "keep it at most 1 or set data.window to pixels."
            )
        if self.cache_mb and self.workers:
            raise TrainingError(
                "data.cache_mb and data.workers are both set, but every worker would fill a cache of its own: use one "
                "of them."
            )
        check_least("data.crop", self.crop, 1)
        check_least("data.cache_mb", self.cache_mb, 0)
        check_least("data.workers", self.workers, 0)


@dataclass(frozen=True)
class PerceptualConfig:
    """The LPIPS term."""

    kind: Literal["none", "lpips"] = "none"
    net: Literal["vgg", "alex", "squeeze"] = "vgg"
    weights: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_least("loss.perceptual.weight", self.weight, 0)


@dataclass(frozen=True)
class KLLossConfig:
    """The pull of the trained posterior towards a standard normal."""

    weight: float = 1e-6
    per: Literal["value", "picture"] = "value"

    def __post_init__(self) -> None:
        check_least("loss.kl.weight", self.weight, 0)


@dataclass(frozen=True)
class AlignmentConfig:
    """The pull of the projected detail towards the base latent."""

    weight: float = 0.05
    mode: Literal["fixed", "adaptive"] = "fixed"

    def __post_init__(self) -> None:
        check_least("loss.alignment.weight", self.weight, 0)


@dataclass(frozen=True)
class GanConfig:
    """The hinge GAN; weight 0 switches it off."""

    weight: float = 0.0
    adaptive: bool = True
    start_step: int = 0
    learning_rate: float = 1e-4
    channels: int = 64
    layers: int = 3

    def __post_init__(self) -> None:
        for name in ("weight", "start_step", "learning_rate"):
            check_least(f"loss.gan.{name}", getattr(self, name), 0)
        for name in ("channels", "layers"):
            check_least(f"loss.gan.{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class LossConfig:
    """The terms of the training loss and their weights."""

    target: Literal["picture", "base_reconstruction"] = "picture"
    l1: float = 1.0
    mse: float = 0.0
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    kl: KLLossConfig = field(default_factory=KLLossConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    gan: GanConfig = field(default_factory=GanConfig)

    def __post_init__(self) -> None:
        check_least("loss.l1", self.l1, 0)
        check_least("loss.mse", self.mse, 0)


@dataclass(frozen=True)
class VaeTrainConfig(TrainConfig):
    """Length, batch, precision and speed of stage 1."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    statistics_samples: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("train.statistics_samples", self.statistics_samples, 1)


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out pictures and when they are looked at; no folder, no validation."""

    folders: tuple[str, ...] = ()
    every: int = 1000
    pictures: int = 16
    size: int = 512
    side_by_side: int = 4

    def __post_init__(self) -> None:
        check_least("validation.every", self.every, 1)
        check_least("validation.pictures", self.pictures, 1)
        check_least("validation.size", self.size, 1)
        check_least("validation.side_by_side", self.side_by_side, 0)


@dataclass(frozen=True)
class VaeOutputConfig(OutputConfig):
    """Where everything of stage 1 is written, and how."""

    name: str = "davae"
    compact: bool = False


@dataclass(frozen=True)
class VaeTrainingConfig:
    """A whole stage-1 run."""

    model: ModelConfig
    data: DataConfig
    output: VaeOutputConfig
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: VaeTrainConfig = field(default_factory=VaeTrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        if self.train.compile and self.uses_gradient_ratios:
            raise TrainingError(
                "train.compile cannot be combined with loss.gan.adaptive or an adaptive loss.alignment.mode, which "
                "differentiate one graph several times: switch one of them off."
            )
        if self.train.precision == "fp16" and (self.loss.gan.weight or self.uses_gradient_ratios):
            raise TrainingError(
                "train.precision is fp16, whose loss scaling serves one optimizer and plain weights: set "
                "it to bf16, or switch off loss.gan and the adaptive loss.alignment.mode."
            )
        if self.model.kind == "base_vae" and self.loss.target != "picture":
            raise TrainingError(
                "loss.target is base_reconstruction, but a base_vae has no base to reconstruct with: set it to picture."
            )
        if not (self.loss.l1 or self.loss.mse or self.loss.perceptual.kind != "none"):
            raise TrainingError(
                "loss.l1, loss.mse and loss.perceptual are all off, so nothing would be learned: switch one of them on."
            )

    @property
    def uses_gradient_ratios(self) -> bool:
        """Whether a loss weight is found from gradient norms."""
        gan, alignment = self.loss.gan, self.loss.alignment
        return bool(
            (gan.weight and gan.adaptive) or (alignment.weight and alignment.mode == "adaptive")
        )


def read_vae_config(path: Path, overrides: tuple[str, ...] = ()) -> VaeTrainingConfig:
    """The stage-1 configuration in a YAML file; `overrides` are `key.name=value` strings.

    Raises TrainingError, one sentence, for anything that is not a valid configuration.
    """
    return read_config(VaeTrainingConfig, path, overrides)
