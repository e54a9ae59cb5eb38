"""What an adapter or a widened model says of itself: its latent, how to sample it, what it was made from.

Files carry it as JSON under the metadata key "davae" (docs/method.md, "Files"). A widened model carries it inside its
tensors too: stock loaders hand no metadata on, tensors always arrive. The tensor `davae.description` holds that JSON as
UTF-8 bytes, so a merged model keeps its layout and its shift through any stock loader and saver.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from ..files import BYTES, HEADER, CheckpointError, open_safetensors, read_shapes, reason_of
from ..format import (
    FORMAT_VERSION,
    KIND_ADAPTER,
    KIND_MERGED,
    check_description,
    check_parents,
    parse_described,
    read_metadata,
    what_is,
)
from ..layout import LatentLayout
from ..reading.plain_text import shown
from ..reading.typed import Length, Limits, build, check_limits, picked

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["joint", "detail"]
"""What the transformer draws: base and detail together, or the detail alone on a clean base (docs/method.md, "Detail
pass")."""

DESCRIPTION = "davae.description"
"""Name of the tensor beside the transformer's own, uint8 [bytes]."""


_Side = Annotated[int, Limits(1, 10**6)]
_TOLD = 4
"""How many sizes a sentence names."""
_UNSAID_BEFORE = ("oblongs",)
"""Advice that files did not give from the start."""


@dataclass(frozen=True)
class Advice:
    """How to sample the adapted model: shift of the schedule, guidance, steps; the sizes in px it was trained at.

    `sizes` are sides of squares, `oblongs` width and height of the others.
    """

    shift: Annotated[float, Limits(0, 1e6)] = 4.0
    guidance: Annotated[float, Limits(-1e6, 1e6)] = 2.5
    steps: Annotated[int, Limits(1, 10**6)] = 30
    sizes: Annotated[tuple[_Side, ...], Length(1000)] = ()
    oblongs: Annotated[tuple[tuple[_Side, ...], ...], Length(1000)] = ()

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.shift:
            raise ValueError("shift must be above 0")
        if any(len(sides) != 2 or min(sides) < 1 for sides in self.oblongs):
            raise ValueError("oblongs must be pairs of a width and a height")

    @classmethod
    def of_sizes(
        cls, shift: float, guidance: float, steps: int, trained: Iterable[tuple[int, int]]
    ) -> Advice:
        """Advice for a model trained at sizes (width, height), sorted, each said once."""
        found = sorted(set(trained))
        squares = tuple(width for width, height in found if width == height)
        oblongs = tuple(size for size in found if size[0] != size[1])
        return cls(shift, guidance, steps, squares, oblongs)

    @property
    def trained(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every size it was trained at, squares first."""
        squares = tuple((side, side) for side in self.sizes)
        return (*squares, *((width, height) for width, height in self.oblongs))

    def is_near(self, width: int, height: int) -> bool:
        """Whether a picture has from half to twice the pixels of one it was trained at, or no size is known.

        That takes in every usual aspect ratio; the other size that models are trained at is four times off.
        """
        areas = [w * h for w, h in self.trained]
        return not areas or any(0.5 <= width * height / area <= 2.0 for area in areas)

    @property
    def trained_words(self) -> str:
        """Such as `1024x1024 or 832x1216`, many cut short; empty where no size is known."""
        told = [f"{width}x{height}" for width, height in self.trained[:_TOLD]]
        more = len(self.trained) - len(told)
        return " or ".join([*told, *([f"{more} others"] if more else [])])


@dataclass(frozen=True)
class ModelDescription:
    """What a widened model or an adapter (`kind`) is.

    `parents`, by role and where known: `base` (fingerprint.base_fingerprint), `base_name` (its file, for sentences),
    `vae` (hash of the DA-VAE), and in a merged model `adapter` (its hash). `mode` is what it draws; files from before
    there was a second mode do not say it, and are joint ones. Raises ValueError for another mode or kind, and for a
    parent that is known by anything but a hash or plain text, which is safe to show.
    """

    layout: LatentLayout
    advice: Advice = field(default_factory=Advice)
    parents: dict[str, str] = field(default_factory=dict)
    kind: str = KIND_MERGED
    mode: Mode = "joint"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"the mode must be {' or '.join(get_args(Mode))}, not {shown(self.mode)}"
            )
        if self.kind not in (KIND_ADAPTER, KIND_MERGED):
            raise ValueError(f"{shown(self.kind)} is no kind of a model's description")
        check_parents(self.parents)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the file's metadata."""
        return {
            "kind": self.kind,
            "format_version": FORMAT_VERSION,
            "layout": asdict(self.layout),
            "advice": asdict(self.advice),
            "parents": dict(self.parents),
            "mode": self.mode,
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> ModelDescription:
        """Read it from such an object. Raises ValueError, saying what is wrong, when it is damaged."""
        for key in ("advice", "parents", "kind"):
            if key not in described:
                raise ValueError(f"{key} is missing")
        for item in fields(Advice):
            # What a model lacks is no advice, though a model made without any has the usual one.
            if item.name in _UNSAID_BEFORE or not isinstance(described["advice"], dict):
                continue
            if item.name not in described["advice"]:
                raise ValueError(f"advice.{item.name} is missing")
        found = build(cls, picked(cls, described))
        found.layout.require_detail()
        return found


def read_file_description(path: str | Path) -> ModelDescription:
    """The description of an adapter or a merged model, from the file's header alone; no weights are read.

    Raises CheckpointError for any other file, saying what it is, and for a damaged description.
    """
    found, metadata = read_shapes(path)
    return describe_file(path, {name: shape for name, (shape, _) in found.items()}, metadata)


def describe_file(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> ModelDescription:
    """`read_file_description` where the header was read already; `path` names the file in errors."""
    described = read_metadata(path, metadata)
    if described.get("kind") not in (KIND_ADAPTER, KIND_MERGED):
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a DA-VAE adapter: pick an adapter (models/loras)."
        )
    try:
        return ModelDescription.from_json(described)
    except ValueError as error:
        raise not_whole(path, described["kind"], error) from error


def not_whole(path: str | Path, kind: str, error: Exception) -> CheckpointError:
    """The sentence for an adapter or merged model that is damaged in the way `error` says."""
    what = "DA-VAE adapter" if kind == KIND_ADAPTER else "merged DA-VAE model"
    return CheckpointError(
        f"{path} is no whole {what} ({reason_of(error)}): download or write it again."
    )


def description_tensor(description: ModelDescription) -> Tensor:
    """The description as the tensor DESCRIPTION."""
    import torch

    text = json.dumps(description.as_json()).encode()
    return torch.tensor(list(text), dtype=torch.uint8)


def read_description(tensor: Tensor) -> ModelDescription:
    """The inverse of `description_tensor`. Raises ValueError when the tensor is another's or its bytes are damaged."""
    import torch

    return _parsed(tuple(tensor.shape), tensor.dtype == torch.uint8, tensor.tolist)


def description_inside(
    path: str | Path, name: str, kind: tuple[tuple[int, ...], str]
) -> ModelDescription:
    """The description among a file's tensors, called `name`, of the shape and type in `kind`; read without PyTorch.

    Raises CheckpointError when it is damaged.
    """
    shape, dtype = kind

    def told() -> list[int]:
        with open_safetensors(path, HEADER) as file:
            found: list[int] = file.get_tensor(name).tolist()
        return found

    try:
        return _parsed(shape, dtype == BYTES, told)
    except CheckpointError:
        raise
    except ValueError as error:
        raise not_whole(path, KIND_MERGED, error) from error


def _parsed(
    shape: tuple[int, ...], are_bytes: bool, told: Callable[[], list[int]]
) -> ModelDescription:
    """The description of a tensor of this shape, whose values `told` gives once that is sure to be sensible."""
    try:
        check_description(shape, are_bytes)
        return ModelDescription.from_json(parse_described(bytes(told())))
    except CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(
            f"the model's own description is damaged ({reason_of(error)}): download or merge it again."
        ) from error
