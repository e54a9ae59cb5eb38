"""Pack what a machine with a GPU, PyTorch and no network needs: `python scripts/gpu_kit.py FOLDER COMFYUI [PYTHON]`.

FOLDER gets the committed project, of ComfyUI what is imported, the wheels that a PYTHON (3.12) with PyTorch, numpy and
Pillow lacks, and run.sh, which runs it all. Every wheel is one of tests/locks, by its hash. It stays under 60 MiB.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 60 * 1024**2
RUN = "benchmarks/gpu_kit/run.sh"
LEFT_OUT = (
    "docs/images",
    "workflows",
    "tests/data",
    "tests/locks",
    "web",
    "davae_core/mini/mini_transformer.safetensors",  # the kit trains one
    "davae_core/mini/mini_adapter.safetensors",
    "davae_core/mini/mini_detail_adapter.safetensors",
)
"""Nothing of it is run there."""
COMFYUI = ("comfy/*.py", "comfy/ldm/**/*.py", "comfyui_version.py", "LICENSE")
"""What the benchmarks import of it: transformer and VAE, without text encoders, nodes and server."""
WHEELS = (
    "accelerate", "clip-anytorch", "diffusers", "einops", "huggingface-hub", "peft", "psutil", "pyyaml", "regex",
    "safetensors", "tokenizers", "tqdm", "transformers",
    "pytest", "iniconfig", "pluggy", "pygments",
    # what these import at once
    "anyio", "certifi", "charset-normalizer", "click", "h11", "httpcore2", "httpx2", "idna", "importlib-metadata",
    "packaging", "requests", "truststore", "typer", "urllib3", "zipp",
)  # fmt: skip
"""torch brings filelock, fsspec, jinja2 and typing-extensions; no more is imported."""
PLATFORMS = tuple(
    f"manylinux{kind}_x86_64"
    for kind in ("_2_28", "_2_27", "_2_24", "_2_17", "2014", "_2_12", "2010", "1")
)


def pack(folder: Path, comfyui: Path, python: str) -> None:
    """Make the kit, replacing an earlier one only once it is whole; exits with a sentence where it cannot be made."""
    lock = ROOT / "tests" / "locks" / f"test-linux-x86_64-{python}.txt"
    if not lock.is_file():
        sys.exit(
            f"There is no {lock.name} in tests/locks: name a Python that has one, such as 3.12."
        )
    if not (comfyui / "comfy").is_dir():
        sys.exit(f"There is no ComfyUI in {comfyui}: run `make test` once.")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as scratch:
        kit = Path(scratch) / "kit"
        kit.mkdir()
        pack_sources(kit / "project.tar.xz", comfyui)
        download(wheels_of(lock), kit / "wheels", python)
        shutil.copyfile(ROOT / RUN, kit / "run.sh")
        (kit / "python.txt").write_text(f"{python}\n")
        size = sum(file.stat().st_size for file in kit.rglob("*"))
        if size > LARGEST:
            sys.exit(
                f"The kit has {size / 1024**2:.1f} MiB, more than 60: add to LEFT_OUT in {__file__}."
            )
        shutil.rmtree(folder, ignore_errors=True)
        kit.replace(folder)
    sys.stdout.write(f"{folder}: {size / 1024**2:.1f} MiB. There: bash run.sh\n")


def pack_sources(file: Path, comfyui: Path) -> None:
    """The commit as project/ and what is imported of ComfyUI as comfyui/."""
    paths = [".", *(f":(exclude){path}" for path in LEFT_OUT)]
    command = ["git", "archive", "--format=tar", "--prefix=project/", "HEAD", *paths]
    with lzma.open(file, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        with tempfile.TemporaryFile() as plain:
            plain.write(done.stdout)
            plain.seek(0)
            with tarfile.open(fileobj=plain) as project:
                for member in project:
                    archive.addfile(
                        member, project.extractfile(member) if member.isfile() else None
                    )
        for path in sorted({path for pattern in COMFYUI for path in comfyui.glob(pattern)}):
            archive.add(path, Path("comfyui") / path.relative_to(comfyui))


def wheels_of(lock: Path) -> list[str]:
    """The lines of a lock that the kit needs; exits with a sentence where the lock has another set of packages."""
    lines = {line.partition("==")[0]: line for line in lock.read_text().splitlines()}
    missing = [name for name in WHEELS if name not in lines]
    if missing:
        sys.exit(f"{lock.name} lacks {', '.join(missing)}: name another Python, such as 3.12.")
    return [lines[name] for name in WHEELS]


def download(lines: list[str], into: Path, python: str) -> None:
    """The wheels of some lines of a lock, each checked against its hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(lines) + "\n")
        wanted.flush()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        where = ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
        kinds = [part for name in PLATFORMS for part in ("--platform", name)]
        files = ["--dest", str(into), "--requirement", wanted.name]
        subprocess.run([*pip, *where, *kinds, *files], check=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    pack(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), (*sys.argv[3:], "3.12")[0])
