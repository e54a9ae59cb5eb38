"""A widened model says what it is inside its tensors too: stock loaders hand no metadata on, tensors always arrive.

The tensor `davae.description` holds, as UTF-8 bytes, the JSON that our files carry under the metadata key "davae"
(docs/method.md, "Files"), so a merged model keeps its layout and its shift through any stock loader and saver.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .adapter import KIND_MERGED, Advice
from .checkpoints import FORMAT_VERSION
from .latents import LatentLayout
from .presets import SD3

DESCRIPTION = "davae.description"
"""Name of the tensor beside the transformer's own, uint8 [bytes]."""


@dataclass(frozen=True)
class ModelDescription:
    """What a widened model is: its latent, how to sample it, and the SHA-256 of its parents by role."""

    layout: LatentLayout = SD3.layout
    advice: Advice = field(default_factory=Advice)
    parents: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of a merged model's metadata."""
        return {
            "kind": KIND_MERGED,
            "format_version": FORMAT_VERSION,
            "layout": asdict(self.layout),
            "advice": asdict(self.advice),
            "parents": dict(self.parents),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "ModelDescription":
        """Read it from such an object. Raises KeyError, TypeError or ValueError when it is damaged."""
        advice = described["advice"]
        return cls(
            layout=LatentLayout(**described["layout"]),
            advice=Advice(**{**advice, "sizes": tuple(advice["sizes"])}),
            parents=dict(described.get("parents", {})),
        )


def description_tensor(description: ModelDescription) -> Tensor:
    """The description as the tensor DESCRIPTION."""
    text = json.dumps(description.as_json()).encode()
    return torch.tensor(list(text), dtype=torch.uint8)


def read_description(tensor: Tensor) -> ModelDescription:
    """The inverse of `description_tensor`. Raises ValueError when the bytes are damaged."""
    try:
        return ModelDescription.from_json(json.loads(bytes(tensor.tolist()).decode()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the model's own description is damaged ({error}): download or merge it again."
        ) from error
