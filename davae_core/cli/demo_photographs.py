"""The six photographs the demo rebuilds. They ship in Python packages, and nothing here was ever trained on them."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from ..images import read_image

HELD_OUT = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "camera": ("skimage", "data/camera.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
}
"""Package and file of the photographs that no training and no choice of a setting may look at."""


class MissingPhotographs(ValueError):
    """The packages that carry the photographs are not installed."""


def held_out_photographs() -> Iterator[tuple[str, Tensor]]:
    """Name and picture [1, 3, H, W] in [-1, 1], at native size, in the order of HELD_OUT.

    Raises MissingPhotographs when scikit-image or scikit-learn is not installed.
    """
    for name, (package, file) in HELD_OUT.items():
        # Importing the packages would take seconds and is not needed for a file inside them.
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingPhotographs(
                "The demo's photographs ship in scikit-image and scikit-learn, which are not installed: "
                "run `pip install scikit-image scikit-learn`, or `davae reconstruct` on pictures of your own."
            )
        yield name, read_image(Path(spec.origin).parent / file)
