"""results.json as the page results.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .files import ADAPTER, BASE, CODEC

GIB = 2**30
LIMIT = 1.15
"""Our loader's peak memory over the stock loader's, at most."""

Numbers = Mapping[str, Any]
"""What one ComfyUI measured; results.json holds one for each version."""


def own_memory(numbers: Numbers, measurement: str) -> int:
    """Bytes that loading added at its peak to the process's own memory."""
    memory = numbers[measurement]["memory"]
    return int(memory["anonymous"] - memory["anonymous_before"])


def resident_memory(numbers: Numbers, measurement: str) -> int:
    """Bytes of the whole process at its peak, mapped pages of files among them."""
    return int(numbers[measurement]["memory"]["resident"])


def ratio(memory: Callable[[Numbers, str], int], numbers: Numbers, measurement: str) -> float:
    """Our loader's peak over the stock loader's."""
    return memory(numbers, measurement) / memory(numbers, "stock")


def as_markdown(results: Mapping[str, Numbers]) -> str:
    """One column for each ComfyUI."""
    columns = list(results.values())
    rows = [
        "| ComfyUI | " + " | ".join(results) + " |",
        "|---" * (1 + len(results)) + "|",
        *(f"| {what} | " + " | ".join(map(found, columns)) + " |" for what, found in ROWS),
    ]
    return "\n\n".join((*INTRODUCTION, "\n".join(rows), *NOTES)) + "\n"


INTRODUCTION = (
    "# Stable Diffusion 3.5 Medium's full size",
    "Random weights of the real sizes through ComfyUI on a CPU: this says how much memory and how many tokens the\n"
    "software takes, and nothing about pictures. Written by\n"
    "`.venv/bin/python -m benchmarks.full_size FOLDER`, once for each ComfyUI (COMFYUI_PATH, COMFYUI_PYTHON).",
)

NOTES = (
    "*Own memory* is anonymous memory, sampled every 5 ms, above what the process had before it loaded. *Resident*\n"
    "is `ru_maxrss` of the whole process; it counts the mapped pages of the files too, which the system takes back\n"
    f"when it needs room. Each ratio must be at most {LIMIT}.",
    "The step at 1024 pixels is one of DA-VAE Sampler's with cfg 2.5, so the transformer sees prompt and negative\n"
    "prompt; the one at 2048 pixels has cfg 1. Both use the adapted model. Its weights are patched when sampling\n"
    "begins, as ComfyUI does for any LoRA. Without `--bf16-unet` ComfyUI makes such weights float32 on a CPU.",
)


def gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


def _made_with(n: Numbers) -> str:
    return f"Python {n['versions']['python']}, PyTorch {n['versions']['torch']}, {n['date']}"


def _base(n: Numbers) -> str:
    return f"{gib(n['bytes'][BASE])}, {n['stock']['numbers'] / 1e9:.2f} B numbers"


def _other_files(n: Numbers) -> str:
    return f"{gib(n['bytes'][ADAPTER])}, {gib(n['bytes'][CODEC])}"


def _weights(n: Numbers) -> str:
    return f"{n['stock']['dtype']}, {n['adapted']['dtype']}"


def _memory(memory: Callable[[Numbers, str], int], measurement: str) -> Callable[[Numbers], str]:
    return lambda n: gib(memory(n, measurement))


def _ratio(memory: Callable[[Numbers, str], int], measurement: str) -> Callable[[Numbers], str]:
    return lambda n: f"**{ratio(memory, n, measurement):.3f}**"


def _tokens(measurement: str) -> Callable[[Numbers], str]:
    return lambda n: "**" + ", ".join(str(count) for count in n[measurement]["tokens"]) + "**"


def _latent(measurement: str) -> Callable[[Numbers], str]:
    return lambda n: " × ".join(map(str, n[measurement]["latent"]))


def _picture(n: Numbers) -> str:
    found = n["picture_1024"]
    return " × ".join(map(str, found["picture"])) + f", codec in {found['codec_dtype']}"


def _whole_process(measurement: str, part: str) -> Callable[[Numbers], str]:
    return lambda n: gib(n[measurement][part]["anonymous"])


ROWS: tuple[tuple[str, Callable[[Numbers], str]], ...] = (
    ("made with", _made_with),
    ("machine", lambda n: str(n["machine"])),
    ("ComfyUI's arguments", lambda n: f"`{' '.join(n['arguments'])}`"),
    ("base file", _base),
    ("adapter file, codec file", _other_files),
    ("weights in memory: stock, ours", _weights),
    ("own memory to load: stock loader", _memory(own_memory, "stock")),
    ("— ours without adapter", _memory(own_memory, "ours")),
    ("— ours with the adapter", _memory(own_memory, "adapted")),
    ("— ratio without adapter", _ratio(own_memory, "ours")),
    ("— ratio with the adapter", _ratio(own_memory, "adapted")),
    ("resident at most: stock loader", _memory(resident_memory, "stock")),
    ("— ours without adapter", _memory(resident_memory, "ours")),
    ("— ours with the adapter", _memory(resident_memory, "adapted")),
    ("— ratio without adapter", _ratio(resident_memory, "ours")),
    ("— ratio with the adapter", _ratio(resident_memory, "adapted")),
    ("picture tokens in the first block, 1024 px", _tokens("picture_1024")),
    ("picture tokens in the first block, 2048 px", _tokens("step_2048")),
    ("latent, 1024 px", _latent("picture_1024")),
    ("latent, 2048 px", _latent("step_2048")),
    ("picture, 1024 px", _picture),
    ("anonymous memory of the whole process: step, 1024 px", _whole_process("picture_1024", "memory_sampling")),
    ("— step, 2048 px", _whole_process("step_2048", "memory_sampling")),
    ("— decode, 1024 px, the model still loaded", _whole_process("picture_1024", "memory_decoding")),
)  # fmt: skip
"""What the table says, and how to find it among the numbers of one ComfyUI."""
