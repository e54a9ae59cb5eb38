"""What 16 and 8 bits cost on this device: ``python -m benchmarks.precision [--blocks 24] [--out FILE]``.

The bundled DA-VAE on the corner of a bundled picture, and ComfyUI's SD3.5 Medium of random weights on random latents,
each in float32 on the CPU and then here in float32, bfloat16, float16 and, the transformer's weights, in both types of
8 bits as ComfyUI keeps them. An error is the root mean square of the difference over that of the CPU's answer. Exits
with 1 when one is not below its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from davae_core import mini
from davae_core.codec.files import load_codec
from davae_core.files import write_text
from davae_core.images import read_image
from davae_core.transformer.presets import SD35_MEDIUM

from .speed.comfyui import stock_transformer
from .speed.transformers import random_weights
from .timing import machine

BOUNDS = {
    torch.float32: 0.01,
    torch.float16: 0.02,
    torch.bfloat16: 0.05,
    torch.float8_e4m3fn: 0.2,
    torch.float8_e5m2: 0.4,
}
"""Above what a CPU gives (float32 on a GPU may round products to TF32's 10 bits)."""
COMPUTED_IN = (torch.float32, torch.float16, torch.bfloat16)
CROP, SIDE, WORDS = 64, 16, 77


@dataclass(frozen=True)
class Error:
    """Of one answer in one type."""

    what: str
    dtype: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """False for what is not a number, too."""
        return self.error < self.bound


def main() -> int:
    """Print, write; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision")
    parser.add_argument("--blocks", type=int, default=2, help="of the transformer's 24")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = []
    print(f"{machine()}; on {device}\n\n| | type | error | bound |\n|---|---|---|---|")
    with torch.inference_mode():
        for error in chain(codec_errors(device), transformer_errors(device, options.blocks)):
            found.append(error)
            print(
                f"| {error.what} | {error.dtype} | {error.error:.2e} | {error.bound:g} |",
                flush=True,
            )
            if options.out is not None:
                told = {"device": device, "errors": [asdict(error) for error in found]}
                write_text(options.out, json.dumps(told, indent=1) + "\n")
    return int(not all(error.holds for error in found))


def codec_errors(device: str) -> Iterator[Error]:
    """Encode and decode of the bundled DA-VAE."""
    codec = load_codec(mini.davae_path()).float()
    picture = read_image(mini.small_scene_path())[..., :CROP, :CROP]
    latents = codec.encode(picture)
    rebuilt = codec.decode(latents)
    # Its file is float16, so that only the last of these rounds its weights.
    for dtype in _tried(COMPUTED_IN, device):
        codec.to(device, dtype)
        yield _error("encode", codec.encode(picture.to(device, dtype)), latents, dtype)
        yield _error("decode", codec.decode(latents.to(device, dtype)), rebuilt, dtype)


def transformer_errors(device: str, blocks: int) -> Iterator[Error]:
    """A velocity of ComfyUI's transformer."""
    # Made where random numbers are fast.
    whole = stock_transformer(SD35_MEDIUM.in_channels, blocks, torch.float32, device)
    random_weights(whole)
    inputs = (
        torch.randn(1, SD35_MEDIUM.in_channels, SIDE, SIDE),
        torch.full((1,), 500.0),
        torch.randn(1, SD35_MEDIUM.pooled_width),
        torch.randn(1, WORDS, SD35_MEDIUM.context_width),
    )
    velocity = whole.to("cpu")(*inputs)
    whole.to(device)
    for dtype in _tried(BOUNDS, device):
        computed = dtype if dtype in COMPUTED_IN else torch.bfloat16
        copy = stock_transformer(SD35_MEDIUM.in_channels, blocks, dtype, device)
        copy.load_state_dict(whole.state_dict())
        made = copy(*(value.to(device, computed) for value in inputs))
        yield _error("velocity", made, velocity, dtype)


def _tried(dtypes: Iterable[torch.dtype], device: str) -> list[torch.dtype]:
    """Without float16 on a CPU, whose convolutions in it take minutes."""
    return [dtype for dtype in dtypes if device != "cpu" or dtype != torch.float16]


def _error(what: str, made: Tensor, wanted: Tensor, dtype: torch.dtype) -> Error:
    apart = (made.cpu().float() - wanted).square().mean().sqrt()
    error = float(apart / wanted.square().mean().sqrt())
    return Error(what, str(dtype).removeprefix("torch."), error, BOUNDS[dtype])


if __name__ == "__main__":
    sys.exit(main())
