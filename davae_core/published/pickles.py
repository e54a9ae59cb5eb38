"""Published weights come as pickles; they are read as plain tensors, and nothing in them ever runs."""

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import LONGEST_NAME, CheckpointError
from ..reading.plain_text import is_plain, plain

SAFE_FROM = (2, 10)
"""The first PyTorch whose weights_only keeps its word: before 2.6 it can run code (CVE-2025-32434), before 2.10 it can
corrupt memory (CVE-2026-24747)."""
_ZIP = b"PK\x03\x04"
_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    # A damaged file leads the unpickler astray in these ways too.
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_plain_weights(source: Path, wanted: str, mapped: bool = False) -> dict[str, Any]:
    """The dictionary in a .bin or .pt file, its tensors on the CPU, read with weights_only.

    `wanted` says in errors which file to give instead. `mapped`: the tensors' numbers are neither read nor checked for
    damage, for those who only look what is there. Raises CheckpointError when there is no such file, when it is
    damaged, holds code, would unpack to more than it has bytes, or is no dictionary, and where this PyTorch is too old
    to read a stranger's pickle safely.
    """
    if not source.is_file():
        raise CheckpointError(f"{source} does not exist or is not a file: check the name.")
    refuse_unsafe_pytorch(source, torch.__version__)
    try:
        is_zip = _check_zip(source)
        with warnings.catch_warnings():
            # Every pickle that torch did not write brings a warning; the sentence below is enough.
            warnings.simplefilter("ignore")
            # PyTorch can map no other format than its zip.
            mapped = mapped and is_zip
            loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
        if isinstance(loaded, dict):
            _check_tensors(loaded)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{source} cannot be read as plain weights (damaged, or it holds code, which is never run): "
            f"give {wanted}."
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{source} holds no weights by name: give {wanted}.")
    return loaded


def refuse_unsafe_pytorch(source: Path, version: str) -> None:
    """Raise CheckpointError when PyTorch of this version lets a pickle do more than bring tensors."""
    found = re.match(r"(\d+)\.(\d+)", version)
    # A version before 2.10.0 itself, such as 2.10.0a0, may lack what made it safe.
    early = re.match(r"\d+\.\d+(\.\d+)?(a|b|rc|\.?dev)", version)
    number = (0, 0) if found is None else (int(found[1]), int(found[2]))
    if number < SAFE_FROM or (number == SAFE_FROM and early):
        raise CheckpointError(
            f"{source} is a pickle, which PyTorch {plain(version)} cannot read safely: update PyTorch to "
            f"{'.'.join(map(str, SAFE_FROM))} or later, or give the weights as safetensors."
        )


def _check_zip(source: Path) -> bool:
    """Whether it is a zip; raises ValueError when its parts are larger than that: PyTorch does not compress them."""
    with source.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    with zipfile.ZipFile(source) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    if unpacked > source.stat().st_size:
        raise ValueError("it unpacks to more than it has bytes")
    return True


def _check_tensors(loaded: dict[Any, Any]) -> None:
    """Raise ValueError for a tensor that is not simply there: one number can be stretched to fill any memory.

    And for a name that cannot be shown, as files.open_safetensors does.
    """
    waiting: list[Any] = [loaded]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
            for name in value if isinstance(value, dict) else ():
                if isinstance(name, str) and not is_plain(name, LONGEST_NAME):
                    raise ValueError("a tensor has a name that no model gives")
        elif isinstance(value, Tensor) and not _is_whole(value):
            raise ValueError("a tensor is stretched, sparse or without numbers")


def _is_whole(tensor: Tensor) -> bool:
    plainly_there = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return (
        plainly_there
        and not tensor.is_quantized
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )
