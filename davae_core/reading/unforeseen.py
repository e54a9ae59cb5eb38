"""The last net under a command: whatever nobody foresaw becomes one sentence that names the files it was given."""

import struct
import sys
import traceback
import zlib
from collections.abc import Iterable
from pathlib import Path

from .plain_text import SentenceError, printable

UNFORESEEN = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError,
    NameError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""Everything but what ends a program on purpose: KeyboardInterrupt, SystemExit, GeneratorExit."""
# PyTorch has no type of its own for the CPU's memory running out.
_CPU_MEMORY = ("DefaultCPUAllocator", "Cannot allocate memory")


def gpu_is_full(error: BaseException) -> bool:
    """Whether a GPU's memory ran out; some of CUDA's libraries say so in words alone."""
    # Nothing else uses a GPU here, and importing PyTorch to ask it takes seconds.
    if "torch" not in sys.modules:
        return False
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and "CUDA" in str(error)
        and any(words in str(error) for words in ("out of memory", "ALLOC_FAILED"))
    )


def memory_is_full(error: BaseException) -> bool:
    """Whether the computer's own memory ran out."""
    return isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, OSError))
        and any(words in str(error) for words in _CPU_MEMORY)
    )


def is_sentence(error: BaseException) -> bool:
    """Whether an error's words are a sentence for a user, as this project writes them, and no library's own."""
    if isinstance(error, SentenceError):
        return True
    text = str(error)
    return (
        isinstance(error, (ImportError, ValueError))
        and text.endswith(".")
        and "\n" not in text
        and not text[:1].islower()
    )


def unforeseen_sentence(error: BaseException, files: Iterable[object]) -> str:
    """What a user is told of an error that nobody foresaw, and a developer of its place."""
    names = ", ".join(dict.fromkeys(str(file) for file in files))
    about = f" while working with {names}" if names else ""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}{': ' + lines[0].rstrip('.')[:300] if lines else ''}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return printable(
        f"Something unforeseen went wrong{about} ({reason}{place}): check what was given, and report this if nothing "
        "is wrong with it."
    )
