"""Sets of pictures that nothing drew: real scenes as they are, and through each codec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from davae_core.codec.files import load_codec
from davae_core.files import write_text

from .arms import ALIGNED, DRAWN_SEED, FLOOR_SEED, PACKED, UNALIGNED, Codec
from .measuring import Measures, Seen, kept, look, measures, real_pictures, rendered, scenes
from .stack import Stack
from .training_runs import codec_file

REAL = "other_real_pictures"


def through(codec: Codec) -> str:
    """Name of the anchor of real pictures through a codec."""
    return "real_through_davae" if codec == ALIGNED else f"real_through_{codec.name}"


_CODECS: tuple[Codec, ...] = (ALIGNED, UNALIGNED, *PACKED)
CODEC_ANCHORS = {through(codec): codec for codec in _CODECS}
ANCHOR_TITLES = {
    REAL: "other real pictures",
    **{name: f"real pictures through {codec.title}" for name, codec in CODEC_ANCHORS.items()},
}


def anchor_file(out: Path, name: str) -> Path:
    """Where an anchor's measures are kept."""
    return out / "results" / f"{name}.json"


def measure_anchor(out: Path, stack: Stack, name: str, pictures: int) -> None:
    """Measure one set and keep what was found, unless that is done.

    Its scenes are others than those of the captions: real pictures are some way from each other too.
    """
    path = anchor_file(out, name)
    if path.is_file():
        return
    wanted = scenes(FLOOR_SEED, pictures)
    shown, codec, beside = rendered(wanted), CODEC_ANCHORS.get(name), None
    if codec is not None:
        shown = _rebuilt(codec_file(out, stack, codec), shown)
        beside = real_through(out, stack, codec, pictures)
    found = measures(look(shown, wanted, name), real_pictures(out, pictures), beside)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(found), indent=1) + "\n")


def measured_anchors(out: Path) -> dict[str, Measures]:
    """Those that are done."""
    files = {name: anchor_file(out, name) for name in ANCHOR_TITLES}
    return {
        name: Measures(**json.loads(path.read_text(encoding="utf-8")))
        for name, path in files.items()
        if path.is_file()
    }


def real_through(out: Path, stack: Stack, codec: Codec, pictures: int) -> Seen:
    """What is seen in real pictures of the captions through a codec: no transformer behind it can come nearer."""

    def see() -> Seen:
        wanted = scenes(DRAWN_SEED, pictures)
        shown = _rebuilt(codec_file(out, stack, codec), rendered(wanted))
        return look(shown, wanted, f"{codec.name} codec")

    return kept(out / f"{through(codec)}_{pictures}.safetensors", see)


@torch.inference_mode()
def _rebuilt(file: Path, pictures: Iterator[Tensor]) -> Iterator[Tensor]:
    codec = load_codec(file, dtype=torch.float32)
    for batch in pictures:
        # One by one, as the drawn ones are decoded.
        yield torch.cat([codec.decode(codec.encode(picture[None])) for picture in batch])
