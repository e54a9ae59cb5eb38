"""Time and memory of `davae merge` at the size of Stable Diffusion 3.5 Medium, on weights that mean nothing:

.venv/bin/python -m benchmarks.merge_memory

Writes the files of full_size (a base of 4.9 GB in bfloat16, an adapter of the published size) into a temporary
folder, merges them in a process of its own, and prints what that process held. Needs 11 GB of disk and diffusers for
the shapes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .full_size.files import ADAPTER, BASE, write_files


def watch(command: list[str]) -> tuple[float, float, float]:
    """Seconds, and the peaks in GB of a command's own memory and of all it had mapped in."""
    started, own, mapped = time.monotonic(), 0, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if "RssAnon" in found:
                own = max(own, int(found["RssAnon"].split()[0]))
                mapped = max(mapped, int(found["VmHWM"].split()[0]))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - started, own * 1024 / 1e9, mapped * 1024 / 1e9


def main() -> None:
    """Print one line for each storage type."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        base, adapter, output = folder / BASE, folder / ADAPTER, folder / "out.safetensors"
        sizes = f"base {base.stat().st_size / 1e9:.2f} GB, adapter {adapter.stat().st_size / 1e9:.2f} GB"
        for dtype in ("bfloat16", "fp8_e4m3fn"):
            command = ["merge", str(base), str(adapter), "-o", str(output), "--dtype", dtype]
            seconds, own, mapped = watch([sys.executable, "-m", "davae_core", *command])
            sys.stdout.write(
                f"{sizes} -> {dtype} {output.stat().st_size / 1e9:.2f} GB: {seconds:.0f} s, "
                f"{own:.2f} GB of its own, {mapped:.2f} GB with mapped files\n"
            )
            output.unlink()


if __name__ == "__main__":
    main()
