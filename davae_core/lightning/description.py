"""What the metadata of a class-conditional model says: its latent, its sizes, how to sample it. Without PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..files import CheckpointError
from ..format import KIND_CLASS_MODEL, damaged, read_metadata, what_is
from ..layout import LatentLayout
from ..reading.typed import Limits, build, check_limits, picked
from .sizes import LightningSizes


@dataclass(frozen=True)
class ClassAdvice:
    """How to sample: shift of even levels (`flow.even_sigmas`), steps, guidance, and the level it begins below.

    The defaults are the published ones: 250 points of time t' = 0.3 t / (1 - 0.7 t), guidance 4 from t = 0.2 on.
    """

    shift: Annotated[float, Limits(1e-3, 1e6)] = 10 / 3
    steps: Annotated[int, Limits(1, 10**6)] = 249
    guidance: Annotated[float, Limits(-1e6, 1e6)] = 4.0
    guided_below: Annotated[float, Limits(0, 1)] = 0.8

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class ClassModelDescription:
    """What the metadata of a class-conditional model says."""

    layout: LatentLayout
    sizes: LightningSizes
    advice: ClassAdvice
    parents: dict[str, str]

    def __post_init__(self) -> None:
        if self.layout.channels != self.sizes.channels:
            raise ValueError(
                f"a latent of {self.layout.channels} channels is none of a model that reads {self.sizes.channels}"
            )


def describe_class_model(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> ClassModelDescription:
    """What the metadata of the file at `path` says. Raises CheckpointError for another kind and for damage."""
    described = read_metadata(path, metadata)
    if described.get("kind") != KIND_CLASS_MODEL:
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a class-conditional model: give one that `python -m training "
            "dit` wrote with model.kind lightning."
        )
    try:
        return build(ClassModelDescription, picked(ClassModelDescription, described))
    except ValueError as error:
        raise damaged(path, error) from error
