"""Whether a cached picture holds what was written: a checksum of its own, so that no whole shard is read for one."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from .text_states import TextStates

UNKNOWN = -1
"""The checksum of pictures that an older version cached."""


def checksum(latents: Tensor, text: TextStates | None) -> int:
    """CRC-32 of the names, types, shapes and bytes of a picture's tensors, as they are stored."""
    found = 0
    tensors = {"latent": latents, **({} if text is None else text.tensors(""))}
    for name, tensor in tensors.items():
        found = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, found)
    return found
