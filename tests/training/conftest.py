"""Small pictures, a configuration that trains in seconds, and a pretrained base VAE of the same size."""

from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import nn

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import save_base_vae
from tests.training.address_fixtures import in_memory_system, served  # noqa: F401
from tests.training.cache_fixtures import cache_config  # noqa: F401
from tests.training.class_fixtures import class_stack  # noqa: F401
from tests.training.dit_fixtures import (  # noqa: F401
    base_transformer,
    base_vae,
    davae,
    davae_cache,
    dit_config,
    write_dit_config,
)
from tests.training.settings_file import write_settings_file
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig

BACKBONE = KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4)
BASE_CHANNELS = 4

ConfigWriter = Callable[..., Path]
ConfigReader = Callable[..., VaeTrainingConfig]


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its state for the process; each test starts without one."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """This process computes as those on_two_processes and `training` with OMP_NUM_THREADS=1 do, to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiled_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile with all of its tracing, but PyTorch's own kernels at the end: no C compiler is needed."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    yield
    torch._dynamo.reset()


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (40, 36)) -> None:
    """Smooth random pictures of `size` (width, height), the same ones for the same folder name."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(folder.name))
    for index in range(count):
        coarse = (random.random((5, 5, 3)) * 255).astype(np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(
            folder / f"{index:02d}.png"
        )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with seven training pictures and three held-out ones in folders of their own."""
    write_pictures(tmp_path / "pictures" / "train", 7)
    write_pictures(tmp_path / "pictures" / "held_out", 3)
    return tmp_path / "pictures"


@pytest.fixture
def base_file(tmp_path: Path) -> Path:
    """A small base VAE file with a shift and a scale of its own."""
    torch.manual_seed(3)
    path = tmp_path / "base.safetensors"
    save_base_vae(path, KLAutoencoder(BACKBONE, BASE_CHANNELS), shift=0.25, scale=2.0)
    return path


@pytest.fixture
def write_config(tmp_path: Path, pictures: Path, base_file: Path) -> ConfigWriter:
    """Writes a configuration that trains a tiny codec; keywords `section__key=value` change it."""

    def write(name: str = "config", **changes: Any) -> Path:
        settings: dict[str, Any] = {
            "model": {
                "kind": "davae",
                "preset": "mini",
                "base_vae": str(base_file),
                "sizes": {
                    "widths": list(BACKBONE.widths),
                    "res_blocks": BACKBONE.res_blocks,
                    "norm_groups": BACKBONE.norm_groups,
                    "base_channels": BASE_CHANNELS,
                    "detail_channels": BASE_CHANNELS,
                },
            },
            "data": {
                "train": [str(pictures / "train")],
                "crop": 16,
                "window": "pixels",
                "scale": [0.8, 1.2],
                "enlarge": True,
            },
            "loss": {"mse": 1.0, "gan": {"channels": 8, "layers": 2}},
            "optimizer": {"kind": "muon", "learning_rate": 1e-3},
            "train": {
                "steps": 6,
                "batch_size": 2,
                "device": "cpu",
                "seed": 5,
                "statistics_samples": 4,
            },
            "validation": {
                "folders": [str(pictures / "held_out")],
                "at_start": False,
                "every": 3,
                "pictures": 2,
                "size": 32,
                "side_by_side": 1,
            },
            "output": {
                "folder": str(tmp_path / name),
                "name": "result",
                "checkpoint_every": 2,
                "log_every": 1,
                "tensorboard": False,
            },
        }
        return write_settings_file(tmp_path / f"{name}.yaml", settings, changes)

    return write


@pytest.fixture
def make_config(write_config: ConfigWriter) -> ConfigReader:
    """Like `write_config`, read back."""

    def make(name: str = "config", **changes: Any) -> VaeTrainingConfig:
        return read_config(VaeTrainingConfig, write_config(name, **changes))

    return make


@pytest.fixture
def base_vae_changes() -> dict[str, Any]:
    """Changes that make the tiny configuration train a plain base VAE."""
    return {"model__kind": "base_vae", "model__base_vae": None}
