"""The manifest of published files: which weights there are, what each is, its size and its hash."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..files import CheckpointError, file_hash, reason_of, write_text
from ..inspection import inspect_file
from ..reading.json_text import read_json
from ..reading.plain_text import SentenceError, plain, shown
from ..reading.typed import Length, Limits, build

MANIFEST = "davae_manifest.json"
FORMAT_VERSION = 1
LARGEST = 2**20
"""Bytes of a manifest; one of a hundred files has thirty thousand."""
Kind = Literal["vae", "adapter", "merged"]
FOLDERS: dict[Kind, str] = {"vae": "vae", "adapter": "loras", "merged": "diffusion_models"}
"""ComfyUI's folder, below models, of each kind of file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}\.safetensors")
_HASH = re.compile(r"[0-9a-f]{64}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\..*", re.IGNORECASE)
"""Names that mean a device on Windows, whatever stands behind the dot."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights: its plain name, what it is, its size in bytes and its SHA-256."""

    name: str
    kind: Kind
    bytes: Annotated[int, Limits(1, 10**13)]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of weights of a folder or a repository."""

    format_version: int
    files: Annotated[tuple[PublishedFile, ...], Length(100)]

    def __post_init__(self) -> None:
        """Raise ValueError unless every name can be a file's anywhere, once, and every hash is one."""
        if self.format_version > FORMAT_VERSION or self.format_version < 1:
            raise ValueError(
                f"its format is {self.format_version}, this version reads {FORMAT_VERSION}"
            )
        if not self.files:
            raise ValueError("it names no file")
        seen: set[str] = set()
        for file in self.files:
            check_name(file.name)
            if not _HASH.fullmatch(file.sha256):
                raise ValueError(f"the hash of {file.name} is {shown(file.sha256)}")
            if file.name.lower() in seen:
                raise ValueError(f"it names {file.name} twice")
            seen.add(file.name.lower())


def check_name(name: str) -> None:
    """Raise ValueError unless a name is plain, leads nowhere, and ends in .safetensors."""
    if not _NAME.fullmatch(name) or _DEVICES.fullmatch(name):
        raise ValueError(
            f"{plain(name)} is no plain name of letters, digits, dots, hyphens and underscores that ends in "
            ".safetensors"
        )


def read_manifest(path: Path, source: str) -> Manifest:
    """The manifest at `path`, checked; `source` is what it came from, for sentences. Raises SentenceError."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 10} KiB")
        return build(Manifest, read_json(path))
    except ValueError as error:
        raise SentenceError(
            f"The {MANIFEST} of {source} cannot be trusted ({reason_of(error)}): ask whoever published it, or get the "
            "files by hand."
        ) from error


def write_manifest(folder: Path, files: Sequence[PublishedFile]) -> None:
    """Write the manifest of files in `folder`. Raises CheckpointError."""
    told = asdict(Manifest(FORMAT_VERSION, tuple(files)))
    write_text(folder / MANIFEST, json.dumps(told, indent=1) + "\n")


def kind_of(path: Path) -> Kind:
    """What a file says of itself. Raises CheckpointError unless it is a DA-VAE, an adapter or a merged model."""
    found = inspect_file(path)
    if found.kind not in FOLDERS:
        raise CheckpointError(
            f"{path} is nothing that is published here ({found.lines[0].partition(': ')[0]}): give a DA-VAE, an "
            "adapter or a merged DA-VAE model."
        )
    return found.kind


def published(path: Path) -> PublishedFile:
    """A file as the manifest tells of it. Raises CheckpointError for another kind, SentenceError for its name."""
    try:
        check_name(path.name)
    except ValueError as error:
        raise SentenceError(
            f"{path} cannot be published under its name ({error}): rename it."
        ) from error
    return PublishedFile(path.name, kind_of(path), path.stat().st_size, file_hash(path))
