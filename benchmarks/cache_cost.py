"""What a picture costs in a cache and while it is read: ``python -m benchmarks.cache_cost``.

Bytes are those of shards that are really written, at the sizes of SD3.5 Medium. Reading and opening are timed on this
machine, whose name and cores the page gives; they are ratios to look at, not promises. Operations are counted as
benchmarks/training_cost.py counts them. The error of T5 states in 8 bits is measured on a cache that ``--cache``
names, whose states must be in 16 bits; without one on a T5 of random weights, which only shows the size of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import file_hash, open_safetensors
from davae_core.presets import SD3
from training.cache.head import CacheHead, read_head, write_head
from training.cache.latent_cache import LatentCache, write_texts
from training.cache.picture_check import checksum
from training.cache.shard_files import (
    CachedPicture,
    ShardIndex,
    shard_path,
    write_index,
    write_shard,
)
from training.cache.table_file import write_table
from training.cache.text_states import TextStates
from training.dit.config import DitTrainingConfig
from training.settings.yaml_config import read_config

from .training_cost import (
    CLIP_TOKENS,
    CLIP_WIDTH,
    CONFIGS,
    T5_ENCODER,
    TERA,
    stage2_operations,
    write_zeros,
)

T5_WIDTH, SIDE = 4096, 1024
CLIP_ENCODERS = 0.124e9 + 0.695e9
"""Parameters of CLIP-L's and CLIP-G's text models."""
READ, SHARD = 200, 1000
"""Pictures that are read, and those of the shard they are read from."""


@dataclass(frozen=True)
class Kept:
    """A way to keep a caption's states."""

    name: str
    t5_tokens: int
    storage: str
    live: bool = False


KINDS = (
    Kept("`text.states: cached`, 512 tokens", 512, "fp16"),
    Kept("256 tokens", 256, "fp16"),
    Kept("154 tokens", 154, "fp16"),
    Kept("77 tokens", 77, "fp16"),
    Kept("256 tokens, `text.t5_storage: int8`", 256, "int8"),
    Kept("`text.states: live`", 256, "fp16", live=True),
)


def text_states(t5_tokens: int) -> TextStates:
    """Random states of one caption in float32."""
    t5 = torch.randn(1, t5_tokens, T5_WIDTH) if t5_tokens else None
    return TextStates(torch.randn(1, CLIP_TOKENS, CLIP_WIDTH), t5, torch.randn(1, CLIP_WIDTH))


def picture_bytes(kind: Kept) -> int:
    """Bytes of one picture of 1024 x 1024 px in a shard of one, its part of the header included."""
    cells = SIDE // SD3.layout.factor
    latent = torch.zeros(1, SD3.layout.channels, cells, cells, dtype=torch.float16)
    stored = text_states(kind.t5_tokens).stored_as("int8" if kind.storage == "int8" else "fp16")
    with tempfile.TemporaryDirectory() as name:
        path = shard_path(Path(name), 0)
        entry = CachedPicture("0/a.png", ("a",), cells, cells, 1)
        write_shard(path, [entry], [latent], [None if kind.live else stored], {})
        return path.stat().st_size


def random_t5_states() -> Tensor:
    """What a T5 of random weights, a sixteenth as wide as SD3's, makes of random tokens, [B, T, w]."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=1000, d_model=256, d_kv=32, d_ff=512, num_layers=4, num_heads=8,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.no_grad():
        states: Tensor = T5EncoderModel(config).eval()(torch.randint(0, 1000, (4, 64)))[0]
    return states


def states_of(cache: LatentCache) -> Tensor:
    """The T5 states of a cache's first pictures, [B, T, w] in float32."""
    read = (cache.read(number)[1] for number in range(min(64, len(cache.pictures))))
    return torch.cat([text.t5.float() for text in read if text is not None and text.t5 is not None])


def relative_error(t5: Tensor, storage: str) -> float:
    """Root mean square of what storing changes, over that of the states."""
    held = TextStates(torch.zeros(len(t5), 1, 1), t5, torch.zeros(len(t5), 1))
    back = held.stored_as("int8" if storage == "int8" else "fp16").to("cpu").t5
    assert back is not None
    return float((back - t5).norm() / t5.norm())


def milliseconds(work: Callable[[int], object], times: int) -> float:
    """Of one call, by the processor's clock."""
    start = time.process_time()
    for number in range(times):
        work(number)
    return (time.process_time() - start) / times * 1e3


def reading() -> tuple[float, float, float]:
    """Milliseconds to read a picture: opening its shard each time, from one that stays open, and a second time."""
    cells, numbers = SIDE // SD3.layout.factor, torch.randperm(SHARD)[:READ].tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_large_cache(folder, SHARD, SHARD, cells, t5_tokens=256)
        path = shard_path(folder, 0)

        def opening(number: int) -> None:
            row = numbers[number]
            with open_safetensors(path) as file:
                names = file.keys()
                assert f"t5.{row}" in names
                for part in ("latent", "clip", "pooled", "t5"):
                    file.get_tensor(f"{part}.{row}")

        cache = LatentCache(folder, in_memory=False)

        def read(number: int) -> None:
            cache.read(numbers[number])

        slow = milliseconds(opening, READ // 10)
        return slow, milliseconds(read, READ), milliseconds(read, READ)


def write_large_cache(
    folder: Path, pictures: int, each: int, cells: int = 1, t5_tokens: int = 0
) -> None:
    """A finished cache of zeros, `each` pictures a shard, in sparse files; captions of 200 letters."""
    shards = -(-pictures // each)
    layout = SD3.layout
    settings = {"text.t5_tokens": t5_tokens}
    t5 = torch.zeros(1, t5_tokens, T5_WIDTH).half() if t5_tokens else None
    zeros = TextStates(torch.zeros(1, 1, 1).half(), t5, torch.zeros(1, 1).half())
    crc = checksum(torch.zeros(1, layout.channels, cells, cells).half(), zeros)
    write_head(folder, CacheHead(layout, "", "", settings, (), shards, ""))
    write_texts(folder, text_states(t5_tokens).stored_as("fp16"), [])
    for number in range(shards):
        path, shapes = shard_path(folder, number), dict[str, tuple[int, ...]]()
        entries = []
        for row in range(min(each, pictures - number * each)):
            shapes[f"latent.{row}"] = (1, layout.channels, cells, cells)
            shapes[f"clip.{row}"], shapes[f"pooled.{row}"] = (1, 1, 1), (1, 1)
            shapes |= {f"t5.{row}": (1, t5_tokens, T5_WIDTH)} if t5_tokens else {}
            name = f"0/folder_{number:05d}/picture_{row:05d}.jpg"
            caption = (f"picture {row} of {number}, " * 20)[:200]
            entries.append(CachedPicture(name, (caption,), cells, cells, 1, crc))
        write_zeros(path, shapes, "F16")
        marks = {entry.name: "0" * 64 for entry in entries}
        write_index(path, ShardIndex(file_hash(path), tuple(entries), {}, marks, 1))
    head = read_head(folder)
    assert head is not None
    write_table(folder, head)


OPEN = """
import json, sys, time
from pathlib import Path
from training.cache.head import read_head
from training.cache.table_file import pictures_of_shards, read_table
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
folder = Path(sys.argv[1])
head, before, start = read_head(folder), anonymous(), time.process_time()
found = {"shards": pictures_of_shards, "index": read_table}[sys.argv[2]](folder, head)
spent = time.process_time() - start
assert len(found.table) == int(sys.argv[3])
print(json.dumps([spent, (anonymous() - before) / 1024]))
"""


def opening(pictures: int) -> dict[str, tuple[float, float]]:
    """Seconds and MiB of memory of its own that a fresh process needs to open a cache, without and with its index."""
    with tempfile.TemporaryDirectory() as name:
        write_large_cache(Path(name), pictures, SHARD)
        found = {}
        for way in ("shards", "index"):
            done = subprocess.run(
                [sys.executable, "-c", OPEN, name, way, str(pictures)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            spent, held = json.loads(done.stdout)
            found[way] = (spent, held)
        return found


def report(cache: Path | None, pictures: int) -> list[str]:
    """Everything, as lines of Markdown."""
    layout, published = SD3.layout, read_config(DitTrainingConfig, CONFIGS / "sd35_published.yaml")
    lines = [
        f"On {platform.machine()}, {os.cpu_count()} cores, {date.today().isoformat()}:",
        "",
        "| a picture of 1024 × 1024 px | bytes | share | 10 million |",
        "|---|---|---|---|",
    ]
    usual = picture_bytes(KINDS[1])
    for kind in KINDS:
        size = picture_bytes(kind)
        lines.append(f"| {kind.name} | {size:,} | {size / usual:.2f} | {size / 1e5:.1f} TB |")
    t5 = random_t5_states() if cache is None else states_of(LatentCache(cache, in_memory=False))
    largest = float((t5.abs().amax(-1) / t5.square().mean(-1).sqrt()).mean())
    step = stage2_operations(published.model, layout, SIDE, CLIP_TOKENS + 256) / TERA
    text = 2 * (T5_ENCODER * 256 + CLIP_ENCODERS * CLIP_TOKENS) / TERA
    slow, first, quick = reading()
    found = opening(pictures)
    of = "of a T5 of random weights" if cache is None else "of that cache"
    return [
        *lines,
        "",
        f"* Error of T5 states {of}, whose largest channel is {largest:.1f} times their root mean square: "
        f"{relative_error(t5, 'int8'):.2%} in 8 bits, {relative_error(t5, 'fp16'):.3%} in 16.",
        f"* A step of stage 2 at 256 tokens: {step:.2f} TFLOP per picture, and {text:.2f} more, "
        f"{text / step:.0%}, with live text.",
        f"* Reading a picture from a shard of {SHARD}: {slow:.2f} ms where it is opened each time, {quick:.3f} ms from "
        f"one that stays open, {slow / quick:.0f} times less; the first time, with its checksum, {first:.2f} ms.",
        f"* Opening a cache of {pictures:,} pictures in a process: {found['shards'][0]:.2f} s of processor and "
        f"{found['shards'][1]:.0f} MiB without its index, {found['index'][0]:.2f} s and {found['index'][1]:.0f} MiB "
        "with it.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_cost", description=__doc__)
    parser.add_argument("--cache", type=Path, help="a cache with T5 states in 16 bits")
    parser.add_argument("--pictures", type=int, default=100_000, help="of the cache that is opened")
    options = parser.parse_args()
    print("\n".join(report(options.cache, options.pictures)))


if __name__ == "__main__":
    main()
