"""Published weights come as pickles; they are read as plain tensors, and nothing in them ever runs."""

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch

from ..files import CheckpointError

_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    # A damaged file leads the unpickler astray in these ways too.
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    struct.error,
)


def read_plain_weights(source: Path, wanted: str) -> dict[str, Any]:
    """The dictionary in a .bin or .pt file, its tensors on the CPU, read with weights_only.

    `wanted` says in errors which file to give instead. Raises CheckpointError when there is no such file, when it is
    damaged, holds code, or is no dictionary.
    """
    if not source.is_file():
        raise CheckpointError(f"{source} does not exist or is not a file: check the name.")
    try:
        with warnings.catch_warnings():
            # Every pickle that torch did not write brings a warning; the sentence below is enough.
            warnings.simplefilter("ignore")
            loaded = torch.load(source, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{source} cannot be read as plain weights (damaged, or it holds code, which is never run): "
            f"give {wanted}."
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{source} holds no weights by name: give {wanted}.")
    return loaded
