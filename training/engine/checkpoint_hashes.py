"""The hashes that lie in a checkpoint, as `sha256sum --check SHA256SUMS` reads them, and what they say of its files."""

from __future__ import annotations

from pathlib import Path

from davae_core.files import CheckpointError, file_hash, open_safetensors, write_text

HASHES = "SHA256SUMS"


def write_hashes(checkpoint: Path) -> None:
    """Write the hash of every file that is in the folder now. Raises CheckpointError."""
    names = sorted(path.name for path in checkpoint.iterdir())
    lines = (f"{file_hash(checkpoint / name)}  {name}\n" for name in names)
    write_text(checkpoint / HASHES, "".join(lines))


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with the files of a checkpoint, as a reason; None when they are those that were written.

    Of a checkpoint from before there were hashes only what its files themselves show.
    """
    if not (checkpoint / HASHES).is_file():
        return _damage_that_shows(checkpoint)
    try:
        lines = (checkpoint / HASHES).read_text(encoding="ascii").splitlines()
        for line in lines:
            wanted, _, name = line.partition("  ")
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if file_hash(path) != wanted:
                return f"{name} is not what was written"
    except (OSError, ValueError) as error:
        return f"its files cannot be read: {error}"
    return None if lines else f"{HASHES} is empty"


def _damage_that_shows(checkpoint: Path) -> str | None:
    try:
        for path in sorted(checkpoint.glob("*.safetensors")):
            with open_safetensors(path):
                pass
    except CheckpointError:
        return f"{path.name} cannot be read"
    return None
