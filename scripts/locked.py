"""Environments of files that are known by their hashes: `python scripts/locked.py install|write NAME REQUIREMENTS...`

`install` installs, with the Python that runs it, the lock `tests/locks/NAME-<platform>-<Python>.txt`: every package in
one version, every file by its SHA-256. Where there is no such lock, or with LOCK=no in the environment, it installs
what the REQUIREMENTS files and tests/constraints.txt allow, and says so. `write` writes the lock: what pip would
install today.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests"
CONSTRAINTS = TESTS / "constraints.txt"
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
HEAD = """\
# Made by `python scripts/locked.py write` from what pyproject.toml and tests/constraints.txt ask for (CONTRIBUTING.md).
--require-hashes
--only-binary :all:
"""


def lock_path(name: str) -> Path:
    """Where the lock of an environment is, for this platform and this Python."""
    version = "{}.{}".format(*sys.version_info)
    return TESTS / "locks" / f"{name}-{sys.platform}-{platform.machine().lower()}-{version}.txt"


def install(name: str, requirements: list[str]) -> None:
    """Install an environment, locked where that is possible and wanted."""
    lock = lock_path(name)
    if os.environ.get("LOCK") == "no":
        sys.stdout.write("LOCK=no: the newest versions that fit, unchecked.\n")
    elif lock.is_file():
        _pip(["--no-compile", "--quiet", "--requirement", str(lock)])
        return
    else:
        sys.stdout.write(f"There is no {lock.name}: the newest versions that fit, unchecked.\n")
    _pip(["--no-compile", "--quiet", *_wanted(requirements)])


def write(name: str, requirements: list[str]) -> None:
    """Write the lock of an environment for this platform and this Python; needs pip 23 or newer."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        anew = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:"]
        _pip([*anew, "--report", str(report), *_wanted(requirements)])
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    lock = lock_path(name)
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(HEAD + "".join(sorted(map(locked_line, found))), encoding="utf-8")
    sys.stdout.write(f"{lock}: {len(found)} packages.\n")


def locked_line(entry: dict[str, Any]) -> str:
    """A package of pip's report as a line of a lock: its name, its version and the hash of its file, no address."""
    told, digest = entry["metadata"], entry["download_info"]["archive_info"]["hashes"]["sha256"]
    name = told["name"].lower().replace("_", "-").replace(".", "-")
    return f"{name}=={told['version']} --hash=sha256:{digest}\n"


def _wanted(requirements: list[str]) -> list[str]:
    files = [part for file in requirements for part in ("--requirement", file)]
    return [*files, "--constraint", str(CONSTRAINTS)]


def _pip(arguments: list[str]) -> None:
    done = subprocess.run([*PIP, *arguments])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("install", "write"):
        sys.exit(__doc__)
    (install if sys.argv[1] == "install" else write)(sys.argv[2], sys.argv[3:])
