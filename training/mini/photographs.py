"""Photographs that ship inside Python packages, by name, and what each may be used for.

Nothing is downloaded. The six held-out photographs are for reporting alone: nothing is trained on
them and no setting is chosen by looking at them.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from davae_core.cli import demo_photographs
from davae_core.files import packaged_file

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Photograph:
    """A picture file inside an installed package.

    ``box`` (left, top, right, bottom) cuts a part out, so that one file can serve two ends without
    a pixel in common. ``weight`` is how often training crops come from it, relative to the others.
    """

    name: str
    package: str
    file: str
    licence: str
    box: Box | None = None
    weight: float = 1.0


def _skimage(
    name: str, file: str, licence: str, box: Box | None = None, weight: float = 1.0
) -> Photograph:
    return Photograph(name, "skimage", f"data/{file}", licence, box, weight)


_NASA = "public domain (NASA)"
_TEXTURES = "CC0 (cc0textures.com)"
_GRASS = "CC0 (linolafett on DeviantArt)"
_PACKAGE = "no licence of its own; distributed within scikit-image (BSD 3-clause)"
_MIDDLEBURY = f"Middlebury stereo benchmark 2014 (Scharstein and others); {_PACKAGE}"
_FLOWER = "CC BY 2.0 (vultilion on Flickr)"

#: Reported on, and used for nothing else.
HELD_OUT: tuple[Photograph, ...] = tuple(
    Photograph(name, *where) for name, where in demo_photographs.HELD_OUT.items()
)

#: For choosing settings: parts that share no pixel with what is trained on.
CHOOSING: tuple[Photograph, ...] = (
    Photograph(
        "flower_right", "sklearn", "datasets/images/flower.jpg", _FLOWER, (352, 0, 640, 416)
    ),
    _skimage("motorcycle_right_end", "motorcycle_left.png", _MIDDLEBURY, (421, 0, 741, 480)),
    Photograph(
        "grace_hopper_lower",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "public domain (US Navy)",
        (0, 350, 512, 606),
    ),
    _skimage("coins", "coins.png", "no known restrictions (Brooklyn Museum)"),
)

TRAINING: tuple[Photograph, ...] = (
    Photograph(
        "flower_left", "sklearn", "datasets/images/flower.jpg", _FLOWER, (0, 0, 352, 427), weight=3
    ),
    _skimage("motorcycle_left_end", "motorcycle_left.png", _MIDDLEBURY, (0, 0, 421, 500), weight=5),
    # The other eye sees the same scene up to 60 pixels further left.
    _skimage(
        "motorcycle_other_eye", "motorcycle_right.png", _MIDDLEBURY, (0, 0, 350, 500), weight=3
    ),
    Photograph(
        "grace_hopper_upper",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "public domain (US Navy)",
        (0, 0, 512, 350),
        weight=4,
    ),
    _skimage("grass", "grass.png", _GRASS, weight=1.5),
    _skimage("gravel", "gravel.png", _TEXTURES, weight=1.5),
    _skimage("brick", "brick.png", _TEXTURES, weight=1.5),
    _skimage("hubble", "hubble_deep_field.jpg", _NASA, weight=0.5),
    _skimage("retina", "retina.jpg", "CC0 (Haeggstroem 2014)", (240, 240, 1170, 1170)),
    _skimage("ihc", "ihc.png", "no known restrictions (CMMI)", weight=1.5),
    _skimage("cell", "cell.png", "CC0 (Mueller and others 2018)", weight=0.5),
    _skimage("moon", "moon.png", _PACKAGE),
    _skimage("clock", "clock_motion.png", "public domain (Stefan van der Walt)"),
    _skimage("page", "page.png", _PACKAGE, weight=0.3),
    _skimage("text", "text.png", "public domain (Wikipedia)", weight=0.3),
)


def load(photograph: Photograph) -> Image.Image:
    """The photograph as an RGB picture, cut to its box.

    Raises:
        FileNotFoundError: when the package is not installed or no longer ships the file.
    """
    path = packaged_file(photograph.package, photograph.file)
    if path is None:
        raise FileNotFoundError(
            f"The photograph {photograph.name} ships in the package {photograph.package}, which is not installed: "
            "install the extra `train`."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"The installed {photograph.package} does not ship {photograph.file}: install another release of it."
        )
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    return picture.crop(photograph.box) if photograph.box else picture
