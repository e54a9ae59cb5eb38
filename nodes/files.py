"""Which files the nodes offer, and where they lie."""

from pathlib import Path

from ..davae_core import mini
from ..davae_core.files import CheckpointError
from . import compat

BUNDLED = "miniature (bundled)"
"""The name under which the bundled miniature stands beside the files of models/vae."""

INSPECTED_FOLDERS = ("vae", "loras", "diffusion_models")


def vae_names() -> list[str]:
    """The bundled miniature, then the names in models/vae."""
    return [BUNDLED, *compat.file_names("vae")]


def vae_path(name: str) -> Path:
    """The file behind one of `vae_names`. Raises CheckpointError when it is gone."""
    return mini.davae_path() if name == BUNDLED else compat.file_path("vae", name)


def inspected_names() -> list[str]:
    """The bundled miniature, then `folder/name` for every file in the folders that hold our files."""
    return [
        BUNDLED,
        *(f"{folder}/{name}" for folder in INSPECTED_FOLDERS for name in compat.file_names(folder)),
    ]


def inspected_path(choice: str) -> Path:
    """The file behind one of `inspected_names`. Raises CheckpointError when it is gone."""
    if choice == BUNDLED:
        return mini.davae_path()
    folder, _, name = choice.partition("/")
    if folder not in INSPECTED_FOLDERS:
        raise CheckpointError(
            f"{choice} is not in one of the folders {', '.join(INSPECTED_FOLDERS)}: pick a file from the list."
        )
    return compat.file_path(folder, name)


def fingerprint(path: Path) -> str:
    """Changes when the file is replaced, so that ComfyUI reads it again."""
    if not path.is_file():
        return f"{path} missing"
    found = path.stat()
    return f"{path} {found.st_size} {found.st_mtime_ns}"
