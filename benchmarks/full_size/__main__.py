"""Memory and tokens at Stable Diffusion 3.5 Medium's full size: ``python -m benchmarks.full_size FOLDER``.

Writes random weights into FOLDER (6 GB, kept and used again), then measures in real ComfyUI processes, on the CPU: the
stock loader and ours on the same base file, a sampling step at 1024 and at 2048 pixels, and a decode. It needs Linux
and 16 GB of memory, prints the table, and keeps the numbers for this ComfyUI in results.json and results.md.

ComfyUI is the one in .comfyui (``make test`` puts it there), or COMFYUI_PATH with COMFYUI_PYTHON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from davae_core.files import write_text

from .files import ADAPTER, BASE, CODEC, write_files
from .table import as_markdown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS, TABLE = HERE / "results.json", HERE / "results.md"
MEASUREMENTS = ("stock", "ours", "adapted", "picture_1024", "step_2048")
COMFYUI_ARGUMENTS = ("--cpu", "--bf16-unet")
"""Without the second, ComfyUI turns bfloat16 weights into float32 on a CPU."""


def main() -> None:
    """Write the files, measure, save, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size")
    parser.add_argument("folder", type=Path, help="where the weights are, or shall be written")
    folder = parser.parse_args().folder.resolve()
    write_files(folder)
    numbers = measure(folder)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[numbers["versions"]["comfyui"]] = numbers
    table = as_markdown(results)
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(TABLE, table)
    print(table)


def measure(folder: Path) -> dict[str, Any]:
    """Every measurement, each in a process of its own, and what it was made with."""
    answers = {name: run(name, folder) for name in MEASUREMENTS}
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "arguments": COMFYUI_ARGUMENTS,
        "bytes": {name: (folder / name).stat().st_size for name in (BASE, ADAPTER, CODEC)},
        "versions": answers["stock"]["versions"],
        **answers,
    }


def run(measurement: str, folder: Path) -> dict[str, Any]:
    """One measurement by inside.py in ComfyUI."""
    comfyui = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).absolute()
    if not (comfyui / "comfy").is_dir():
        sys.exit(f"There is no ComfyUI in {comfyui}: run `make test` once, or set COMFYUI_PATH.")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    print(f"measuring {measurement} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "answer.json"
        script = HERE / "inside.py"
        arguments = [ROOT, folder, measurement, answer, *COMFYUI_ARGUMENTS]
        environment = {**os.environ, "PYTHONPATH": ""}
        subprocess.run([python, script, *arguments], cwd=comfyui, env=environment, check=True)
        found: dict[str, Any] = json.loads(answer.read_text())
        return found


def machine() -> str:
    """Processor, cores and memory."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in processors if "model name" in line), "CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB memory, no GPU"


if __name__ == "__main__":
    main()
