"""What an adapter or a widened model says of itself: its latent, how to sample it, what it was made from.

Files carry it as JSON under the metadata key "davae" (docs/method.md, "Files"). A widened model carries it inside its
tensors too: stock loaders hand no metadata on, tensors always arrive. The tensor `davae.description` holds that JSON as
UTF-8 bytes, so a merged model keeps its layout and its shift through any stock loader and saver.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..files import CheckpointError, read_shapes, reason_of
from ..format import FORMAT_VERSION, KIND_ADAPTER, KIND_MERGED, layout_from, read_metadata, what_is
from ..latents import LatentLayout

Mode = Literal["joint", "detail"]
"""What the transformer draws: base and detail together, or the detail alone on a clean base (docs/method.md, "Detail
pass")."""

DESCRIPTION = "davae.description"
"""Name of the tensor beside the transformer's own, uint8 [bytes]."""


@dataclass(frozen=True)
class Advice:
    """How to sample the adapted model: shift of the schedule, guidance, steps; the sides in px it was trained at."""

    shift: float = 4.0
    guidance: float = 2.5
    steps: int = 30
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift > 0 and math.isfinite(self.guidance)):
            raise ValueError(
                f"shift must be above 0 and guidance a number, not {self.shift} and {self.guidance}"
            )
        if self.steps < 1 or any(size < 1 for size in self.sizes):
            raise ValueError(f"steps and sizes must be at least 1, not {self.steps}, {self.sizes}")


@dataclass(frozen=True)
class ModelDescription:
    """What a widened model or an adapter (`kind`) is.

    `parents`, by role and where known: `base` (fingerprint.base_fingerprint), `base_name` (its file, for sentences),
    `vae` (hash of the DA-VAE), and in a merged model `adapter` (its hash). `mode` is what it draws; files from before
    there was a second mode do not say it, and are joint ones. Raises ValueError for another mode.
    """

    layout: LatentLayout
    advice: Advice = field(default_factory=Advice)
    parents: dict[str, str] = field(default_factory=dict)
    kind: str = KIND_MERGED
    mode: Mode = "joint"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"the mode must be {' or '.join(get_args(Mode))}, not {self.mode!r}")

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
    def from_json(cls, described: Mapping[str, Any]) -> "ModelDescription":
        """Read it from such an object. Raises ValueError, saying what is wrong, when it is damaged."""
        try:
            advice = described["advice"]
            return cls(
                layout=layout_from(described["layout"]),
                advice=Advice(
                    shift=float(advice["shift"]),
                    guidance=float(advice["guidance"]),
                    steps=int(advice["steps"]),
                    sizes=tuple(int(size) for size in advice["sizes"]),
                ),
                parents={str(role): str(own) for role, own in described["parents"].items()},
                kind=str(described["kind"]),
                mode=described.get("mode", "joint"),
            )
        except KeyError as error:
            raise ValueError(f"{error} is missing") from error
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error


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
    text = json.dumps(description.as_json()).encode()
    return torch.tensor(list(text), dtype=torch.uint8)


def read_description(tensor: Tensor) -> ModelDescription:
    """The inverse of `description_tensor`. Raises ValueError when the bytes are damaged."""
    try:
        described = json.loads(bytes(tensor.tolist()).decode())
        if not isinstance(described, dict):
            raise ValueError("no object")
        return ModelDescription.from_json(described)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the model's own description is damaged ({error}): download or merge it again."
        ) from error
