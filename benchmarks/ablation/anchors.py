"""Sets of pictures that nothing drew: other real scenes than the reference, as they are and through the DA-VAE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from davae_core.codec.files import load_codec
from davae_core.files import write_text

from .arms import FLOOR_SEED, Stack
from .measuring import Measures, look, measures, real_pictures, rendered, scenes

REAL, THROUGH_DAVAE = "other_real_pictures", "real_through_davae"
ANCHORS = (REAL, THROUGH_DAVAE)


def anchor_file(out: Path, name: str) -> Path:
    """Where an anchor's measures are kept."""
    return out / "results" / f"{name}.json"


def measure_anchor(out: Path, stack: Stack, name: str, pictures: int) -> None:
    """Measure one set and keep what was found, unless that is done."""
    path = anchor_file(out, name)
    if path.is_file():
        return
    wanted = scenes(FLOOR_SEED, pictures)
    real = rendered(wanted)
    seen = look(real if name == REAL else _through(stack.davae, real), wanted, name)
    found = measures(seen, real_pictures(out, pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(found), indent=1) + "\n")


def measured_anchors(out: Path) -> dict[str, Measures]:
    """Those that are done."""
    files = {name: anchor_file(out, name) for name in ANCHORS}
    return {
        name: Measures(**json.loads(path.read_text(encoding="utf-8")))
        for name, path in files.items()
        if path.is_file()
    }


@torch.inference_mode()
def _through(davae: Path, pictures: Iterator[Tensor]) -> Iterator[Tensor]:
    codec = load_codec(davae, dtype=torch.float32)
    for batch in pictures:
        # One by one and in bfloat16, as the drawn ones are decoded.
        with torch.autocast("cpu", torch.bfloat16):
            rebuilt = [codec.decode(codec.encode(picture[None])) for picture in batch]
        yield torch.cat(rebuilt).float()
