"""ComfyUI's model folders, extra model paths included."""

from pathlib import Path

import folder_paths

from ...davae_core.files import CheckpointError


def file_names(folder: str) -> list[str]:
    """Names in one of ComfyUI's model folders, extra model paths included."""
    return list(folder_paths.get_filename_list(folder))


def file_path(folder: str, name: str) -> Path:
    """The file of that name in one of ComfyUI's model folders. Raises CheckpointError when it is not there."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise CheckpointError(
            f"{name} is not in ComfyUI's models/{folder} folders: pick another file, or put it there and refresh."
        )
    return Path(path)
