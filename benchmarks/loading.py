"""What reading files and starting commands takes, before and after: ``python -m benchmarks.loading``.

A codec of Stable Diffusion 3's size with random weights in bfloat16. Before: the codec built with fresh weights, which
the file's replace; its configuration read with all its weights; a command that imports PyTorch before it knows what it
was asked. After: the project's own. Only ratios mean anything elsewhere.

``--pack``: instead the import of the pack in ComfyUI, beyond what ComfyUI has imported itself, at the first start, when
Python compiles the sources, and at later ones.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.description import read_codec_config
from davae_core.codec.files import build_codec, load_codec, read_codec_file, save_codec
from davae_core.presets import SD3

from .timing import in_turns, machine, row

ROOT = Path(__file__).parents[1]
IN_COMFYUI = """
import sys
sys.path.insert(0, sys.argv[1])
root, sys.argv = sys.argv[2], ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import utils.install_util, utils.extra_config
import comfy.sd, comfy.samplers, comfy.controlnet, nodes, execution, latent_preview, server
from comfy_api.latest import io
import asyncio, importlib.util, time
started, before = time.process_time(), set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
foreign = sorted(name for name in set(sys.modules) - before if name.partition(".")[0] != "pack")
print(time.process_time() - started, *foreign)
"""


def load_with_fresh_weights(path: Path) -> None:
    """As a codec was loaded before."""
    config, tensors = read_codec_file(path)
    build_codec(config, tensors).load_state_dict(tensors, assign=True)


def child_seconds(*arguments: str) -> float:
    """Processor seconds of a Python of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(path: Path, rounds: int) -> list[str]:
    """Lines of the table about commands, whose processes are children of this one."""
    asked = {"`davae --help`": ("--help",), "`davae inspect` of the codec": ("inspect", str(path))}
    lines = []
    for what, arguments in asked.items():
        code = f"import sys, torch; from davae_core.cli.commands import main; sys.exit(main({list(arguments)!r}))"
        spent = [
            (child_seconds("-c", code), child_seconds("-m", "davae_core", *arguments))
            for _ in range(rounds)
        ]
        before, after = (sorted(seconds)[rounds // 2] for seconds in zip(*spent, strict=True))
        lines.append(row(f"{what} (PyTorch first / not at all)", before, after))
    return lines


def pack_import(comfyui: str, rounds: int) -> str:
    """How long the import of the pack takes in a process that has ComfyUI's own: first, and the median of `rounds`."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        # Where it is set nothing is kept, and every start is a first one.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        found = [
            subprocess.run(
                [sys.executable, "-c", IN_COMFYUI, comfyui, str(ROOT)],
                cwd=comfyui, env=environment, capture_output=True, text=True, check=True,
            ).stdout.splitlines()[-1].split()
            for _ in range(1 + rounds)
        ]  # fmt: skip
    first, *later = (float(line[0]) * 1e3 for line in found)
    return (
        f"Import of the pack in ComfyUI: {first:.0f} ms at the first start, then {median(later):.0f} ms (median of "
        f"{rounds}, {min(later):.0f} to {max(later):.0f}); packages only it imports: {found[0][1:]}."
    )


def report(rounds: int) -> list[str]:
    """The table."""
    lines = [machine(), "", "| | before, ms | after, ms | |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "codec.safetensors"
        save_codec(path, DetailAlignedVAE(SD3), dtype=torch.bfloat16)
        pairs = {
            "load a codec (fresh weights first / none)": (load_with_fresh_weights, load_codec),
            "its configuration (with all weights / header)": (read_codec_file, read_codec_config),
        }
        for what, (before, after) in pairs.items():
            ways = {"before": partial(before, path), "after": partial(after, path)}
            found = in_turns(ways, rounds)
            lines.append(row(what, found["before"], found["after"]))
        lines += commands(path, rounds)
    return lines


def main() -> None:
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--pack", action="store_true", help="the import of the pack in ComfyUI")
    options = found.parse_args()
    if not options.pack:
        print("\n".join(report(options.rounds)))
        return
    comfyui = os.environ.get("COMFYUI_PATH", str(ROOT / ".comfyui"))
    print(machine(), pack_import(comfyui, options.rounds), sep="\n\n")


if __name__ == "__main__":
    main()
