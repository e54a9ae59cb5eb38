"""Sets of pictures that nothing drew: other real scenes than the reference, as they are and through each VAE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from davae_core.autoencoder import DetailAlignedVAE
from davae_core.checkpoints import load_base_vae
from davae_core.latents import downscale_image
from training.tracking import write_text

from .arms import ALIGNED, BASE_SIDE, FLOOR_SEED, SIDE, UNALIGNED, Stack
from .drawing import enlarge
from .measuring import Measures, look, measures, real_pictures, rendered, scenes
from .training_runs import codec_file

REAL, THROUGH_BASE = "other_real_pictures", "real_through_base_vae_at_half_size"
THROUGH_ALIGNED, THROUGH_UNALIGNED = "real_through_aligned_davae", "real_through_unaligned_davae"
ANCHORS = (REAL, THROUGH_BASE, THROUGH_ALIGNED, THROUGH_UNALIGNED)


def anchor_file(out: Path, name: str) -> Path:
    """Where an anchor's measures are kept."""
    return out / "results" / f"{name}.json"


def measure_anchor(out: Path, stack: Stack, name: str, pictures: int) -> None:
    """Measure one set and keep what was found, unless that is done."""
    path = anchor_file(out, name)
    if path.is_file():
        return
    wanted = scenes(FLOOR_SEED, pictures)
    seen = look(_pictures(out, stack, name, rendered(wanted)), wanted, name)
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
def _pictures(out: Path, stack: Stack, name: str, real: Iterator[Tensor]) -> Iterator[Tensor]:
    if name == REAL:
        yield from real
    elif name == THROUGH_BASE:
        vae = load_base_vae(stack.base_vae).vae.float()
        for batch in real:
            small = downscale_image(batch, SIDE // BASE_SIDE)
            with torch.autocast("cpu", torch.bfloat16):
                rebuilt = vae.decode(vae.encode_moments(small).mean)
            yield enlarge(rebuilt.float().clamp(-1, 1))
    else:
        chosen = ALIGNED if name == THROUGH_ALIGNED else UNALIGNED
        codec = DetailAlignedVAE.from_file(codec_file(out, stack, chosen), dtype=torch.float32)
        for batch in real:
            with torch.autocast("cpu", torch.bfloat16):
                rebuilt = codec.decode(codec.encode(batch))
            yield rebuilt.float()
