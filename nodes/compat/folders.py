"""ComfyUI's model folders, extra model paths included."""

import os
from collections.abc import Iterable
from pathlib import Path

import folder_paths

from ...davae_core.files import CheckpointError

_PACK = Path(__file__).parents[2]


def file_names(folder: str) -> list[str]:
    """Names in one of ComfyUI's model folders, extra model paths included."""
    return list(folder_paths.get_filename_list(folder))


def listed(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` means: itself, or the same with the other system's separators between folders.

    A shared workflow names files as they are called where it was made.
    """
    wanted = name.replace("\\", "/")
    return next((one for one in names if one.replace("\\", "/") == wanted), None)


def without_folders(text: str) -> str:
    """`text` with files called as in ComfyUI's lists, `vae/x.safetensors`, instead of by where they lie."""
    found = [
        (str(Path(place)) + os.sep, f"{folder}/")
        for folder in folder_paths.folder_names_and_paths
        for place in folder_paths.get_folder_paths(folder)
    ]
    found.append((str(_PACK) + os.sep, ""))
    # The longest first: one folder of models may lie in another.
    for place, name in sorted(found, key=lambda pair: -len(pair[0])):
        text = text.replace(place, name)
    return text


def file_path(folder: str, name: str) -> Path:
    """The file of that name in one of ComfyUI's model folders. Raises CheckpointError when it is not there."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise CheckpointError(
            f"{name} is not in ComfyUI's models/{folder} folders: pick another file, or put it there and refresh."
        )
    return Path(path)
