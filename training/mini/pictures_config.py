"""What the miniature's pictures are drawn with; configs/mini_pictures.yaml and mini_scenes.yaml explain every key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import TrainingError
from ..settings.limits import check_least, check_range
from ..settings.yaml_config import read_config

#: Scenes that are not trained on have seeds that training never reaches.
HELD_OUT_SEED = 1_000_000


@dataclass(frozen=True)
class CodecPicturesConfig:
    """The pictures that the codec is trained on."""

    folder: str = ""
    scenes: int = 3000
    crops: int = 3000
    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        check_range("scenes", self.scenes, 1, HELD_OUT_SEED)
        check_least("crops", self.crops, 1)
        check_least("size", self.size, 32)
        check_range("seed", self.seed, 0, HELD_OUT_SEED - self.scenes)


@dataclass(frozen=True)
class PromptScenesConfig:
    """The captioned scenes that the transformer is trained on."""

    folder: str = ""
    training: int = 4000
    held_out: int = 200
    size: int = 256

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        check_range("training", self.training, 1, HELD_OUT_SEED)
        check_least("held_out", self.held_out, 1)
        check_least("size", self.size, 32)


def read_codec_pictures_config(path: Path, overrides: tuple[str, ...] = ()) -> CodecPicturesConfig:
    """Read a YAML file, then the overrides (`key=value`). Raises TrainingError."""
    return read_config(CodecPicturesConfig, path, overrides)


def read_prompt_scenes_config(path: Path, overrides: tuple[str, ...] = ()) -> PromptScenesConfig:
    """Read a YAML file, then the overrides (`key=value`). Raises TrainingError."""
    return read_config(PromptScenesConfig, path, overrides)


def _check_folder(folder: str) -> None:
    if not folder:
        raise TrainingError(
            "folder is missing: name the folder that the pictures are written into."
        )
