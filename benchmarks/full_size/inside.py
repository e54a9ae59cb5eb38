"""One measurement in a ComfyUI process of its own, started in ComfyUI's folder by ComfyUI's Python:

python inside.py PACK FOLDER MEASUREMENT ANSWER [ComfyUI's arguments]

PACK is this repository, FOLDER holds the files of files.py, ANSWER becomes a JSON file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACK, FOLDER, MEASUREMENT, ANSWER = (
    Path(sys.argv[1]),
    Path(sys.argv[2]),
    sys.argv[3],
    Path(sys.argv[4]),
)
sys.argv = ["main.py", *sys.argv[5:]]
sys.path.insert(0, os.getcwd())

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.sd  # noqa: E402
import comfyui_version  # noqa: E402
import torch  # noqa: E402

BASE, ADAPTER, CODEC = (FOLDER / f"{name}.safetensors" for name in ("base", "adapter", "codec"))
EVERY_SECONDS = 0.005


class PeakMemory:
    """The peak of this process's memory while it is open, in bytes.

    `anonymous` is what the process made itself. `resident` counts mapped pages of files too, which the system takes
    back when it needs room; it is the peak since the process began.
    """

    def __enter__(self) -> PeakMemory:
        self.anonymous = self.before = anonymous_bytes()
        self.resident = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        self.resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def _watch(self) -> None:
        while not self._done.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        self.anonymous = max(self.anonymous, anonymous_bytes())

    def as_json(self) -> dict[str, int]:
        return {
            "anonymous_before": self.before,
            "anonymous": self.anonymous,
            "anonymous_after": anonymous_bytes(),
            "resident": self.resident,
        }


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * (int(found["RssAnon"]) + int(found["RssShmem"]))


def load_pack() -> Any:
    """Import the pack as ComfyUI does, under a name of its own, and register its model -> its nodes.compat.model."""
    spec = importlib.util.spec_from_file_location("davae_pack", PACK / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["davae_pack"] = module
    spec.loader.exec_module(module)
    models = importlib.import_module("davae_pack.nodes.compat.model")
    models.register()
    return models


def stock() -> dict[str, Any]:
    """What stock Load Diffusion Model does with the base."""
    with PeakMemory() as memory:
        model = comfy.sd.load_diffusion_model(str(BASE))
    return {"memory": memory.as_json(), **about(model)}


def ours() -> dict[str, Any]:
    """Load DA-VAE SD3.5 Model without adapter."""
    return loaded(None)


def adapted() -> dict[str, Any]:
    """Load DA-VAE SD3.5 Model with the adapter."""
    return loaded(ADAPTER)


def loaded(adapter: Path | None) -> dict[str, Any]:
    models = load_pack()
    with PeakMemory() as memory:
        model = models.load_model(BASE, adapter, "default")
    return {"memory": memory.as_json(), **about(model)}


def about(model: Any) -> dict[str, Any]:
    """Type and number of a MODEL's weights."""
    weights = list(model.model.diffusion_model.parameters())
    return {
        "dtype": str(weights[0].dtype),
        "numbers": sum(w.numel() for w in model.model.diffusion_model.state_dict().values()),
    }


def picture_1024() -> dict[str, Any]:
    """One step at 1024 pixels with guidance, then the picture."""
    return sampled(1024, guidance=2.5, decode=True)


def step_2048() -> dict[str, Any]:
    """One step at 2048 pixels without guidance."""
    return sampled(2048, guidance=1.0, decode=False)


def sampled(pixels: int, guidance: float, decode: bool) -> dict[str, Any]:
    """One step of the adapted model, as DA-VAE Sampler takes it, at that many pixels a side."""
    model = load_pack().load_model(BASE, ADAPTER, "default")
    stepping = importlib.import_module("davae_pack.nodes.compat.sampling")
    tokens = count_tokens(model)
    torch.manual_seed(0)
    settings = stepping.SamplingSettings(0, 1, guidance, "euler", stepping.PUBLISHED, 1.0)
    latent = {"samples": torch.zeros(1, 32, pixels // 16, pixels // 16)}
    with torch.inference_mode():
        with PeakMemory() as sampling:
            drawn = stepping.sample(model, conditioning(), conditioning(), latent, settings)
        found = {
            "latent": list(drawn["samples"].shape),
            "tokens": sorted(set(tokens)),
            "finite": bool(drawn["samples"].isfinite().all()),
            "memory_sampling": sampling.as_json(),
        }
        return {**found, **decoded(drawn["samples"])} if decode else found


def decoded(samples: torch.Tensor) -> dict[str, Any]:
    """The picture of a latent, through the codec as a VAE object."""
    vae = importlib.import_module("davae_pack.nodes.compat.vae").DetailAlignedComfyVAE(CODEC)
    with PeakMemory() as memory:
        picture = vae.decode(samples)
    return {
        "picture": list(picture.shape),
        "picture_finite": bool(picture.isfinite().all()),
        "codec_dtype": str(vae.vae_dtype),
        "memory_decoding": memory.as_json(),
    }


def conditioning() -> list[Any]:
    """Random text, as wide as SD3.5's encoders make it."""
    return [[torch.randn(1, 154, 4096), {"pooled_output": torch.randn(1, 2048)}]]


def count_tokens(model: Any) -> list[int]:
    """A list that grows by the picture tokens of each call of the first block."""
    tokens: list[int] = []

    def look(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        text, picture = inputs[:2]
        assert text.shape[-1] == picture.shape[-1]
        tokens.append(picture.shape[1])

    model.model.diffusion_model.joint_blocks[0].register_forward_pre_hook(look)
    return tokens


MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    function.__name__: function for function in (stock, ours, adapted, picture_1024, step_2048)
}


def main() -> None:
    versions = {
        "comfyui": comfyui_version.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    ANSWER.write_text(json.dumps({"versions": versions, **MEASUREMENTS[MEASUREMENT]()}))


if __name__ == "__main__":
    main()
