"""The six photographs the demo rebuilds. They ship in Python packages, and nothing here was ever trained on them."""

from collections.abc import Iterator

from torch import Tensor

from ..files import packaged_file
from ..images import read_image

HELD_OUT = {
    "astronaut": ("skimage", "data/astronaut.png", "public domain (NASA)"),
    "coffee": ("skimage", "data/coffee.png", "CC0 (Rachel Michetti)"),
    "chelsea": ("skimage", "data/chelsea.png", "CC0 (Stefan van der Walt)"),
    "rocket": ("skimage", "data/rocket.jpg", "public domain (SpaceX)"),
    "camera": ("skimage", "data/camera.png", "CC0 (Lav Varshney)"),
    "china": ("sklearn", "datasets/images/china.jpg", "CC BY 2.0 (danielbuechele on Flickr)"),
}
"""Package, file and licence of the photographs that no training and no choice of a setting may look at."""


def held_out_photographs() -> Iterator[tuple[str, Tensor]]:
    """Name and picture [1, 3, H, W] in [-1, 1], at native size, in the order of HELD_OUT.

    Raises ImportError when scikit-image or scikit-learn is not installed.
    """
    for name, (package, file, _) in HELD_OUT.items():
        path = packaged_file(package, file)
        if path is None:
            raise ImportError(
                "The demo's photographs ship in scikit-image and scikit-learn, which are not installed: "
                "run `pip install scikit-image scikit-learn`, or `davae reconstruct` on pictures of your own."
            )
        yield name, read_image(path)
