"""What the miniature's pictures are drawn with; configs/mini_pictures.yaml and mini_scenes.yaml explain every key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..errors import TrainingError
from ..settings.limits import Count, Limits, Whole

#: Scenes that are not trained on have seeds that training never reaches.
HELD_OUT_SEED = 1_000_000
Scenes = Annotated[int, Limits(1, HELD_OUT_SEED)]
Side = Annotated[int, Limits(32)]
Style = Literal["painted", "lines"]


@dataclass(frozen=True)
class CodecPicturesConfig:
    """The pictures that the codec is trained on."""

    folder: str = ""
    scenes: Scenes = 3000
    crops: Whole = 3000
    size: Side = 256
    seed: Count = 0
    photographs: str | None = None

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        Limits(0, HELD_OUT_SEED - self.scenes).check("seed", self.seed)


@dataclass(frozen=True)
class PromptScenesConfig:
    """The captioned scenes that the transformer is trained on."""

    folder: str = ""
    training: Scenes = 4000
    held_out: Whole = 200
    size: Side = 256
    style: Style = "painted"

    def __post_init__(self) -> None:
        _check_folder(self.folder)


def _check_folder(folder: str) -> None:
    if not folder:
        raise TrainingError(
            "folder is missing: name the folder that the pictures are written into."
        )
