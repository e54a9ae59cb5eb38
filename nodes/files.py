"""Which files the nodes offer, and where they lie."""

from pathlib import Path

from ..davae_core import mini
from ..davae_core.files import CheckpointError
from ..davae_core.latents import LatentLayout
from ..davae_core.presets import SD3
from ..davae_core.transformer.description import read_file_description
from . import compat

BUNDLED = "miniature (bundled)"
"""The name under which the bundled miniature stands beside the files of models/vae."""

NO_ADAPTER = "none (warm start)"
"""The choice of no adapter: the widened model as it is before any training."""

BASE_FOLDERS = ("diffusion_models", "checkpoints")
INSPECTED_FOLDERS = ("vae", "loras", "diffusion_models", "checkpoints", "text_encoders")


def vae_names() -> list[str]:
    """The bundled miniature, then the names in models/vae."""
    return [BUNDLED, *compat.file_names("vae")]


def vae_path(name: str) -> Path:
    """The file behind one of `vae_names`. Raises CheckpointError when it is gone."""
    return mini.davae_path() if name == BUNDLED else compat.file_path("vae", name)


def base_names() -> list[str]:
    """The bundled miniature, names in models/diffusion_models, then those in models/checkpoints not there too."""
    found = dict.fromkeys(name for folder in BASE_FOLDERS for name in compat.file_names(folder))
    return [BUNDLED, *found]


def base_path(name: str) -> Path:
    """The file behind one of `base_names`. Raises CheckpointError when it is gone."""
    if name == BUNDLED:
        return mini.transformer_path()
    folder = next(
        (folder for folder in BASE_FOLDERS if name in compat.file_names(folder)), BASE_FOLDERS[0]
    )
    return compat.file_path(folder, name)


def base_layout(name: str) -> LatentLayout:
    """The latent that one of `base_names` is widened for without an adapter, which would say it itself."""
    if name == BUNDLED:
        return read_file_description(mini.adapter_path()).layout
    return SD3.layout


def adapter_names() -> list[str]:
    """The bundled miniature's, no adapter, then the names in models/loras."""
    return [BUNDLED, NO_ADAPTER, *compat.file_names("loras")]


def adapter_path(name: str) -> Path | None:
    """The file behind one of `adapter_names`, None for none. Raises CheckpointError when it is gone."""
    if name == NO_ADAPTER:
        return None
    return mini.adapter_path() if name == BUNDLED else compat.file_path("loras", name)


def text_encoder_names() -> list[str]:
    """The bundled miniature, then the names in models/text_encoders."""
    return [BUNDLED, *compat.file_names("text_encoders")]


def text_encoder_path(name: str) -> Path:
    """The file behind one of `text_encoder_names`. Raises CheckpointError when it is gone."""
    return mini.clip_path() if name == BUNDLED else compat.file_path("text_encoders", name)


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
