"""A folder of captioned pictures and a configuration that caches it in a second."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davae_core import mini
from tests.training.settings_file import write_settings_file


@pytest.fixture
def cache_config(tmp_path, davae):
    """Writes a configuration over five captioned pictures, two of them wide; `section__key=value` changes it."""
    folder = tmp_path / "captioned"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate([(16, 16), (16, 16), (24, 12), (24, 12), (16, 16)]):
        pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture {number}", encoding="utf-8")

    def write(**changes):
        settings = {
            "source": {"folders": [str(folder)]},
            "images": {"side": 16, "multiple": 8, "longest": 3.0, "enlarge": True},
            "vae": {"kind": "davae", "file": str(davae)},
            "text": {"kind": "mini", "source": str(mini.clip_path()), "t5_tokens": 0},
            "work": {"device": "cpu", "precision": "fp32", "batch_size": 2},
            "prompts": ["a circle"],
            "output": {"folder": str(tmp_path / "out"), "shard_pictures": 2},
        }
        return write_settings_file(tmp_path / "cache.yaml", settings, changes)

    return write


def pack_captioned(folder: Path, shard: Path) -> Path:
    """The files of a folder as a WebDataset shard."""
    with tarfile.open(shard, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return shard
