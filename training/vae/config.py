"""The stage-1 configuration: one YAML file, one dataclass per section (configs/paper.yaml explains every key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..errors import TrainingError
from ..settings.limits import Count, Limits, Weight, Whole
from ..settings.run_config import OptimizerConfig, OutputConfig, TrainConfig
from ..tars.patterns import is_address, is_tars


@dataclass(frozen=True)
class SizesConfig:
    """Deviations from the preset's sizes; None keeps the preset's."""

    widths: tuple[Whole, ...] | None = None
    res_blocks: Whole | None = None
    norm_groups: Whole | None = None
    base_channels: Whole | None = None
    detail_channels: Whole | None = None
    ratio: Whole | None = None


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, from what, and which parts of it."""

    kind: Literal["base_vae", "davae"] = "davae"
    preset: Literal["sd3", "imagenet", "mini", "small"] = "sd3"
    sizes: SizesConfig = field(default_factory=SizesConfig)
    init: Literal["good", "packed", "torch"] = "good"
    base_vae: str | None = None
    base_shift: float | None = None
    base_scale: float | None = None
    start_from: str | None = None
    train: Literal["codec", "decoder"] = "codec"
    trunk: Literal["frozen", "trained"] = "frozen"
    detail: Literal["learned", "zero"] = "learned"
    detail_dropout: Annotated[float, Limits(0.0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        if self.kind == "davae" and not (self.base_vae or self.start_from):
            raise TrainingError(
                "model.base_vae is missing: a davae grows from a pretrained VAE, so name its file, folder or Hugging "
                "Face id."
            )
        self._check_start()
        if self.detail == "zero" and self.trunk == "trained":
            raise TrainingError(
                "model.trunk is trained while model.detail is zero: nothing reads the trunk then, so set "
                "model.trunk to frozen."
            )
        if self.init == "packed" and (self.kind == "base_vae" or self.detail == "zero"):
            raise TrainingError(
                "model.init is packed, which is a start for a davae's learned detail: set it to good."
            )
        if self.base_scale == 0:
            raise TrainingError(
                "model.base_scale is 0, which wipes the base latent out: give another number or leave it empty."
            )

    def _check_start(self) -> None:
        if self.train == "decoder" and not self.start_from:
            raise TrainingError(
                "model.train is decoder, which trains a davae's decoder on behind latents that stay: name that davae "
                "in model.start_from, or set model.train to codec."
            )
        if self.start_from and self.kind == "base_vae":
            raise TrainingError(
                "model.start_from names a davae, but model.kind is base_vae: train a base VAE on by model.base_vae."
            )
        if self.start_from and self.base_vae:
            raise TrainingError(
                "model.start_from and model.base_vae are both set, but a davae brings its base VAE: leave one empty."
            )
        if self.start_from and self.detail == "zero":
            raise TrainingError(
                "model.detail is zero while model.start_from names a davae, whose detail is learned: set it to "
                "learned, or grow the control arm from model.base_vae."
            )


@dataclass(frozen=True)
class DataConfig:
    """Where the training pictures are and how crops are cut from them."""

    train: tuple[str, ...] = ()
    shares: tuple[float, ...] | None = None
    crop: Whole = 256
    window: Literal["pixels", "fraction"] = "fraction"
    scale: tuple[float, ...] = (0.8, 1.0)
    enlarge: bool = False
    flip: bool = True
    cache_mb: Count = 0
    workers: Count = 0
    window_shards: Count = 0
    downloads: str | None = None

    def __post_init__(self) -> None:
        if not self.train:
            raise TrainingError(
                "data.train is missing: name at least one folder of training pictures."
            )
        self._check_windows()
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
        if self.window == "pixels" and self.scale[0] < 1 and not self.enlarge:
            raise TrainingError(
                f"data.scale begins at {self.scale[0]}, so that windows smaller than data.crop would be enlarged: "
                "begin at 1, or set data.enlarge to true."
            )
        if self.cache_mb and self.workers:
            raise TrainingError(
                "data.cache_mb and data.workers are both set, but every worker would fill a cache of its own: use one "
                "of them."
            )

    def _check_windows(self) -> None:
        address = next(filter(is_address, self.train), None)
        folder = next((entry for entry in self.train if not is_tars(entry)), None)
        if address and not self.window_shards:
            raise TrainingError(
                f"data.train names {address}, whose tar files come here window by window, but data.window_shards is 0: "
                "set it to the number of tar files that the disk has room for twice, or copy them here."
            )
        if self.window_shards and folder:
            raise TrainingError(
                f"data.window_shards is {self.window_shards}, but data.train names the folder {folder}: a window is of "
                "tar files, so pack it, or set data.window_shards to 0."
            )
        if self.window_shards and self.shares is not None:
            raise TrainingError(
                "data.shares and data.window_shards are both set, but a window has its tar files' pictures, each once: "
                "use one of them."
            )


@dataclass(frozen=True)
class PerceptualConfig:
    """The LPIPS term."""

    kind: Literal["none", "lpips"] = "none"
    net: Literal["vgg", "alex", "squeeze"] = "vgg"
    weights: str | None = None
    weight: Weight = 1.0


@dataclass(frozen=True)
class KLLossConfig:
    """The pull of the trained posterior towards a standard normal."""

    weight: Weight = 1e-6
    per: Literal["value", "picture"] = "value"


@dataclass(frozen=True)
class AlignmentConfig:
    """The pull of the projected detail towards the base latent."""

    weight: Weight = 0.05
    mode: Literal["fixed", "adaptive"] = "fixed"


@dataclass(frozen=True)
class GanConfig:
    """The hinge GAN; weight 0 switches it off."""

    weight: Weight = 0.0
    adaptive: bool = True
    start_step: Count = 0
    learning_rate: Weight = 1e-4
    channels: Whole = 64
    layers: Whole = 3


@dataclass(frozen=True)
class LossConfig:
    """The terms of the training loss and their weights."""

    target: Literal["picture", "base_reconstruction"] = "picture"
    l1: Weight = 1.0
    mse: Weight = 0.0
    texture: Weight = 0.0
    hold: Weight = 0.0
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    kl: KLLossConfig = field(default_factory=KLLossConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    gan: GanConfig = field(default_factory=GanConfig)


@dataclass(frozen=True)
class VaeTrainConfig(TrainConfig):
    """Length, batch, precision and speed of stage 1."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    statistics_samples: Whole = 512


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out pictures and when they are looked at; no folder, no validation."""

    folders: tuple[str, ...] = ()
    at_start: bool = True
    every: Whole = 1000
    pictures: Whole = 16
    size: Whole = 512
    side_by_side: Count = 4


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
        if self.loss.hold and (self.model.kind != "base_vae" or not self.model.base_vae):
            raise TrainingError(
                "loss.hold keeps the latents of a base_vae near those of model.base_vae: name that VAE and set "
                "model.kind to base_vae, or leave loss.hold at 0."
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
