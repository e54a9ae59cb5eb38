"""Which files the nodes offer, and where they lie."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..davae_core import mini
from ..davae_core.files import CheckpointError
from ..davae_core.latents import LatentLayout
from ..davae_core.presets import SD3
from ..davae_core.transformer.description import read_file_description
from .compat.folders import file_names, file_path, listed

BUNDLED = "miniature (bundled)"
"""The name under which the bundled miniature stands beside the files of models/vae."""

DETAIL_BUNDLED = "miniature, detail pass (bundled)"
"""The name of the bundled miniature's second adapter, which draws the detail alone."""

NO_ADAPTER = "none (warm start)"
"""The choice of no adapter: the widened model as it is before any training."""

INSPECTED_FOLDERS = ("vae", "loras", "diffusion_models", "checkpoints", "text_encoders")


@dataclass(frozen=True)
class Choice:
    """What a node offers: the bundled miniature's file, then those in some of ComfyUI's model folders."""

    bundled: Callable[[], Path]
    folders: tuple[str, ...]

    def names(self) -> list[str]:
        """BUNDLED, then the names in the folders, each once."""
        found = dict.fromkeys(name for folder in self.folders for name in file_names(folder))
        return [BUNDLED, *found]

    def path(self, name: str) -> Path:
        """The file behind one of `names`, in the first folder that has it. Raises CheckpointError when it is gone."""
        if name == BUNDLED:
            return self.bundled()
        for folder in self.folders:
            known = listed(name, file_names(folder))
            if known is not None:
                return file_path(folder, known)
        return file_path(self.folders[0], name)


VAES = Choice(mini.davae_path, ("vae",))
BASES = Choice(mini.transformer_path, ("diffusion_models", "checkpoints"))
ADAPTERS = Choice(mini.adapter_path, ("loras",))
TEXT_ENCODERS = Choice(mini.clip_path, ("text_encoders",))


def base_layout(name: str) -> LatentLayout:
    """The latent that a base is widened for without an adapter, which would say it itself."""
    if name == BUNDLED:
        return read_file_description(mini.adapter_path()).layout
    return SD3.layout


def adapter_names() -> list[str]:
    """The bundled miniature's two, no adapter, then the names in models/loras."""
    bundled, *others = ADAPTERS.names()
    return [bundled, DETAIL_BUNDLED, NO_ADAPTER, *others]


def adapter_path(name: str) -> Path | None:
    """The file behind one of `adapter_names`, None for none. Raises CheckpointError when it is gone."""
    if name == NO_ADAPTER:
        return None
    return mini.detail_adapter_path() if name == DETAIL_BUNDLED else ADAPTERS.path(name)


def inspected_names() -> list[str]:
    """The bundled miniature, then `folder/name` for every file in the folders that hold our files."""
    return [
        BUNDLED,
        *(f"{folder}/{name}" for folder in INSPECTED_FOLDERS for name in file_names(folder)),
    ]


def inspected_path(choice: str) -> Path:
    """The file behind one of `inspected_names`. Raises CheckpointError when it is gone."""
    if choice == BUNDLED:
        return mini.davae_path()
    folder, _, name = (listed(choice, inspected_names()) or choice).partition("/")
    if folder not in INSPECTED_FOLDERS:
        raise CheckpointError(
            f"{choice} is not in one of the folders {', '.join(INSPECTED_FOLDERS)}: pick a file from the list."
        )
    return file_path(folder, name)


def fingerprint(path: Path) -> str:
    """Changes when the file is replaced, so that ComfyUI reads it again.

    A hash, because ComfyUI writes it into every saved picture, where nobody should read how folders are called.
    """
    found = path.stat() if path.is_file() else None
    state = "missing" if found is None else f"{found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(f"{path} {state}".encode("utf-8", "surrogatepass")).hexdigest()
