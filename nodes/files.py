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

NO_ADAPTER = "none (the base alone)"
"""The choice of no adapter: the widened model before any training, which draws what its base draws."""

NO_ADAPTER_BEFORE = "none (warm start)"
"""What NO_ADAPTER was called in workflows from before."""

INSPECTED_FOLDERS = ("vae", "loras", "diffusion_models", "checkpoints", "text_encoders")


@dataclass(frozen=True)
class Choice:
    """What a node offers: files in some of ComfyUI's model folders, then the bundled miniature's.

    `words`: what such a file is likely to have in its name; of the files in `others` only those that have are offered.
    """

    bundled: Callable[[], Path]
    folders: tuple[str, ...]
    words: tuple[str, ...]
    others: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The names in the folders, each once, then BUNDLED."""
        found = [name for folder in self.folders for name in file_names(folder)]
        found += [
            name
            for folder in self.others
            for name in file_names(folder)
            if self._is_called_so(name)
        ]
        return [*dict.fromkeys(found), BUNDLED]

    def usual(self) -> str:
        """What a new node begins with: a file of the user's that is called as such files are, else BUNDLED."""
        own = (name for folder in self.folders for name in file_names(folder))
        return next(filter(self._is_called_so, own), BUNDLED)

    def path(self, name: str) -> Path:
        """The file behind one of `names`, in the first folder that has it. Raises CheckpointError when it is gone."""
        if name == BUNDLED:
            return self.bundled()
        for folder in (*self.folders, *self.others):
            known = listed(name, file_names(folder))
            if known is not None:
                return file_path(folder, known)
        return file_path(self.folders[0], name)

    def _is_called_so(self, name: str) -> bool:
        return any(word in name.lower() for word in self.words)


VAES = Choice(mini.davae_path, ("vae",), ("davae", "da-vae", "da_vae"), others=("checkpoints",))
BASES = Choice(
    mini.transformer_path, ("diffusion_models", "checkpoints"), ("sd3.5", "sd35", "sd3_5")
)
ADAPTERS = Choice(mini.adapter_path, ("loras",), ("davae", "da-vae", "da_vae"))
TEXT_ENCODERS = Choice(mini.clip_path, ("text_encoders",), ())


def base_layout(name: str) -> LatentLayout:
    """The latent that a base is widened for without an adapter, which would say it itself."""
    if name == BUNDLED:
        return read_file_description(mini.adapter_path()).layout
    return SD3.layout


def adapter_names() -> list[str]:
    """The names in models/loras, no adapter, then the bundled miniature's two."""
    *others, bundled = ADAPTERS.names()
    return [*others, NO_ADAPTER, bundled, DETAIL_BUNDLED]


def usual_adapter() -> str:
    """What a new node begins with: an adapter of the user's, else the one that belongs to the usual base."""
    if BASES.usual() == BUNDLED:
        return BUNDLED
    found = ADAPTERS.usual()
    return NO_ADAPTER if found == BUNDLED else found


def adapter_path(name: str) -> Path | None:
    """The file behind one of `adapter_names`, None for none. Raises CheckpointError when it is gone."""
    if name in (NO_ADAPTER, NO_ADAPTER_BEFORE):
        return None
    return mini.detail_adapter_path() if name == DETAIL_BUNDLED else ADAPTERS.path(name)


def inspected_names() -> list[str]:
    """`folder/name` for every file in the folders that hold our files, then the bundled miniature."""
    named = (f"{folder}/{name}" for folder in INSPECTED_FOLDERS for name in file_names(folder))
    return [*named, BUNDLED]


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
