"""The six photographs the demo rebuilds. They ship in Python packages, and nothing here was ever trained on them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

SCIKIT_IMAGE = ("astronaut", "coffee", "chelsea", "rocket", "camera")
SCIKIT_LEARN = ("china",)
HELD_OUT = (*SCIKIT_IMAGE, *SCIKIT_LEARN)
"""Names of the photographs that no training and no choice of a setting may look at."""


class MissingPhotographs(ValueError):
    """The packages that carry the photographs are not installed."""


def held_out_photographs() -> Iterator[tuple[str, Tensor]]:
    """Name and picture [1, 3, H, W] in [-1, 1], at native size, in the order of HELD_OUT.

    Raises MissingPhotographs when scikit-image or scikit-learn is not installed.
    """
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise MissingPhotographs(
            "The demo's photographs ship in scikit-image and scikit-learn, which are not installed: "
            "run `pip install scikit-image scikit-learn`, or `davae reconstruct` on pictures of your own."
        ) from error
    for name in SCIKIT_IMAGE:
        load: Callable[[], Any] = getattr(data, name)
        yield name, _to_tensor(load())
    for name in SCIKIT_LEARN:
        yield name, _to_tensor(load_sample_image(f"{name}.jpg"))


def _to_tensor(pixels: Any) -> Tensor:
    """uint8 [H, W] or [H, W, 3] -> [1, 3, H, W] in [-1, 1]."""
    image = torch.tensor(pixels).float() / 127.5 - 1.0
    if image.ndim == 2:
        image = image[..., None].expand(-1, -1, 3)
    return image.permute(2, 0, 1)[None].contiguous()
