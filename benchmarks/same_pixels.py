"""Whether several ComfyUI servers draw the same pixels: ``python -m benchmarks.same_pixels ADDRESS ADDRESS ...``

Sends the calls of workflows/api that need no file of one's own to each server, such as http://127.0.0.1:8188, and
compares the pictures pixel by pixel. The servers are of different ComfyUI versions, with the same PyTorch, on
one machine.
Exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

from PIL import Image

ROOT = Path(__file__).parents[1]
CALLS = ("davae_mini", "davae_mini_batch", "davae_mini_compare", "davae_mini_detail", "davae_mini_lora")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_pixels", description=__doc__)
    parser.add_argument("servers", nargs="+", metavar="ADDRESS")
    servers = parser.parse_args(arguments).servers
    if len(servers) < 2:
        parser.error("name two servers or more")
    client, same = _client(), True
    for call in CALLS:
        found = {server: _hashes(client, server, call) for server in servers}
        alike = len(set(found.values())) == 1 and () not in found.values()
        same &= alike
        sys.stdout.write(f"{call}: {'the same' if alike else 'DIFFERENT'} on {len(servers)}\n")
    return 0 if same else 1


def _hashes(client: ModuleType, server: str, call: str) -> tuple[str, ...]:
    """A hash of the pixels of every picture that a call saves."""
    graph = client.read_workflow(ROOT / "workflows" / "api" / f"{call}.json")
    outputs = client.wait(server, client.queue(server, graph))
    saved = (
        Image.open(io.BytesIO(png)).convert("RGB") for _, png in client.pictures(server, outputs)
    )
    return tuple(hashlib.sha256(picture.tobytes()).hexdigest() for picture in saved)


def _client() -> ModuleType:
    """docs/examples/comfyui_api.py, which is no package."""
    path = ROOT / "docs" / "examples" / "comfyui_api.py"
    spec = importlib.util.spec_from_file_location("comfyui_api", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
