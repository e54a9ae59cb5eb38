"""Reading and writing safetensors: one-sentence errors, and nothing half-written.

PyTorch is imported by what needs tensors: a header can be read without it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import pickletools
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from .disk.leftovers import beside, remove_left_overs
from .disk.syncing import sync_file, sync_folder
from .reading.json_text import parse_json
from .reading.plain_text import SentenceError, is_plain, plain

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_LARGEST_HEADER = 100_000_000
_LARGEST_PARSED = 16 * 2**20
"""Bytes of a header that is parsed here only to say more exactly what is wrong with its file."""
_BLOCK = 2**20
"""Bytes read at a time for a hash."""
_TYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""How safetensors spells the types that can be written, by PyTorch's names."""
BYTES = _TYPE_NAMES["uint8"]
"""How a header spells the type of bytes."""
HEADER = "numpy"
"""What `open_safetensors` is given by those who only read a header, or a row of bytes."""
METADATA_KEY = "davae"
"""The safetensors metadata key that holds our JSON."""
LONGEST_NAME = 300
"""Characters of a tensor's name; the longest in use, of an optimizer's states, have about half."""


class CheckpointError(SentenceError):
    """A file that is not what it should be; the message is one sentence that names it and says what to do."""

    # ComfyUI names a pack's modules by its folder and tells clients an error's full name.
    __module__ = "davae"


def reason_of(error: Exception | str) -> str:
    """An error's words without the full stop at their end, to stand inside another sentence."""
    return str(error).rstrip(".")


def type_name(dtype: torch.dtype) -> str | None:
    """How safetensors spells a type; None for one that cannot be written."""
    return _TYPE_NAMES.get(str(dtype).removeprefix("torch."))


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file, on the CPU. Raises CheckpointError."""
    with open_safetensors(path) as file:
        tensors = {name: read_tensor(path, file, name) for name in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})


def read_tensor(path: str | Path, file: safe_open, name: str) -> Tensor:
    """One tensor of an open file. Raises CheckpointError for a type that PyTorch does not have."""
    try:
        tensor: Tensor = file.get_tensor(name)
        return tensor
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, SafetensorError):
            raise
        raise CheckpointError(
            f"{path} holds {plain(name)} in a type that this PyTorch cannot read: update PyTorch, or write it in "
            "another type."
        ) from error


def read_shapes(path: str | Path) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, str]]:
    """Shape and dtype name of every tensor, and the metadata, without reading the weights. Raises CheckpointError."""
    with open_safetensors(path, HEADER) as file:
        shapes = {}
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            shapes[name] = (tuple(part.get_shape()), str(part.get_dtype()))
        return shapes, dict(file.metadata() or {})


@contextlib.contextmanager
def open_safetensors(path: str | Path, framework: str = "pt") -> Iterator[safe_open]:
    """Open a safetensors file; raises CheckpointError with the reason when it cannot be read.

    Its tensors are PyTorch's, or with the framework HEADER, which needs no PyTorch, NumPy's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file: check the name.")
    try:
        file = safe_open(path, framework=framework, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_why_unreadable(path)) from error
    with file:
        _check_names(path, file.keys())
        try:
            yield file
        except SafetensorError as error:
            raise CheckpointError(_why_unreadable(path)) from error


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError for a name that no model gives a tensor, before it stands in a sentence or on a page."""
    for name in names:
        if not is_plain(name, LONGEST_NAME):
            raise CheckpointError(
                f"{path} names a tensor {plain(name)}, as no model does: get the file from someone you trust."
            )


def _why_unreadable(path: Path) -> str:
    size = path.stat().st_size
    if size == 0:
        return f"{path} is empty: download or copy it again."
    with path.open("rb") as file:
        start = file.read(16)
    # A safetensors header can begin like a pickle, but a pickle has no brace there.
    has_header = start[8:9] == b"{"
    if not has_header and (start[:2] == b"PK" or _starts_like_pickle(start)):
        return (
            f"{path} is a pickle (.pt, .bin or .ckpt), whatever its name says, and pickles are never loaded here: "
            "use the safetensors file, or `davae convert` if it is a published DA-VAE checkpoint."
        )
    if has_header and size < _claimed_size(path, int.from_bytes(start[:8], "little"), size):
        return f"{path} is cut short: download or copy it again."
    return f"{path} is not a safetensors file: give the safetensors file it was meant to be."


def _starts_like_pickle(start: bytes) -> bool:
    try:
        first = next(pickletools.genops(start))
    except (ValueError, StopIteration):
        return False
    return first[0].name == "PROTO"


def _claimed_size(path: Path, header: int, size: int) -> int:
    """Bytes the header speaks of; the header itself when it is not all there, 0 when it makes no sense."""
    if size < header + 8:
        return header + 8 if header < _LARGEST_HEADER else 0
    if header > _LARGEST_PARSED:
        return 0
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(header)
    try:
        entries = parse_json(text)
        ends = [
            entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"
        ]
        return header + 8 + max((int(end) for end in ends), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return 0


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file atomically: an existing file stays whole until the new one is complete.

    Only one tensor at a time is copied, and only where it lies on a GPU or in another order than in the file. Raises
    CheckpointError when the disk is full or the folder cannot be written.
    """
    kinds = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    stream_safetensors(path, kinds, tensors.__getitem__, metadata)


def require_finite(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError, before `path` is written, when one of the tensors for it has NaN or infinite values."""
    if name := not_finite(tensors):
        raise CheckpointError(
            f"{path} was not written, because its {name} would hold NaN or infinite values: look at the files and "
            "settings it is made of, and at the number format."
        )


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with NaN or infinite values."""
    import torch

    for name, tensor in tensors.items():
        # PyTorch cannot ask that of an eight-bit number.
        known = tensor.float() if tensor.element_size() == 1 else tensor
        if not torch.isfinite(known).all():
            return name
    return None


def stream_safetensors(
    path: str | Path,
    kinds: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    tensor_of: Callable[[str], Tensor],
    metadata: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a safetensors file atomically, asking for one tensor after the other, so that they need not fit in memory.

    `kinds`: shape and type of what `tensor_of` will give for each name. `progress` is told (bytes written, bytes in
    all). Raises CheckpointError as `write_safetensors` does.
    """
    import torch

    # Largest types first, so that every tensor starts at a multiple of its type's size.
    names = sorted(kinds, key=lambda name: (-kinds[name][1].itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        shape, dtype = kinds[name]
        spelled = type_name(dtype)
        if spelled is None:
            raise CheckpointError(
                f"{path} cannot hold {name} as {dtype}: keep it in float32, float16 or bfloat16."
            )
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": spelled, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    def write(part: Path) -> None:
        done = 0
        with part.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                tensor = tensor_of(name)
                if (tuple(tensor.shape), tensor.dtype) != kinds[name]:
                    raise ValueError(f"{name} is not of the announced shape and type.")
                written = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
                file.write(written.numpy().data)
                done += written.numel()
                if progress is not None:
                    progress(done, end)

    write_atomically(path, write)


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it over `path`; on any failure leave `path` as it was.

    First what killed writers left in the folder is removed. When it returns, the file survives a power cut. Raises
    CheckpointError, naming the file and the reason, where the system refuses (full disk, no permission).
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise CheckpointError(
            f"The folder {path.parent} does not exist: create it, or write {path.name} elsewhere."
        )
    remove_left_overs(path.parent)
    part = beside(path)
    try:
        # Created with the process's own permissions, as any file is.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        write(part)
        sync_file(part)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all. Raises CheckpointError."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _write_error(path: Path, error: OSError) -> CheckpointError:
    full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    reason = (
        "the disk is full or a size limit was reached" if full else error.strerror or str(error)
    )
    return CheckpointError(
        f"{path} could not be written ({reason}): free some room or choose another place."
    )


def value_hash(tensors: Mapping[str, Tensor]) -> str:
    """`tensor_hash` of the float32 values: weights hash equally in whichever dtype they are kept without loss.

    A copy that was *rounded* to a smaller dtype holds other values and hashes differently.
    """
    return tensor_hash({name: tensor.float() for name, tensor in tensors.items()})


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes, in the order of the names; equal weights hash equally."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def packaged_file(package: str, file: str) -> Path | None:
    """Where an installed package keeps a file, whether it is there or not; None without the package."""
    # Importing the package would take seconds and is not needed for a file inside it.
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / file


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
