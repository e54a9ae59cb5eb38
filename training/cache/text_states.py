"""What an SD3 transformer is told of a caption, as it is cached: CLIP states, T5 states, pooled vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

T5Storage = Literal["fp16", "int8"]
_LARGEST = 127
"""Of a signed byte."""


@dataclass(frozen=True)
class TextStates:
    """The text of B captions.

    `clip` [B, 77, w]: penultimate states, CLIP-L's and CLIP-G's side by side where both exist. `t5` [B, T, 4096] or
    None; where there is `t5_scale` [B, T, 1], whole numbers from -127 to 127 that are the states once multiplied by
    it. `pooled` [B, p].
    """

    clip: Tensor
    t5: Tensor | None
    pooled: Tensor
    t5_scale: Tensor | None = None

    def context(self, width: int) -> Tensor:
        """[B, 77 + T, width]: the CLIP states filled up to `width` with zeros, then the T5 states.

        Of states in numbers of one type, as `to` gives them.
        """
        clip = F.pad(self.clip, (0, width - self.clip.shape[-1]))
        return clip if self.t5 is None else torch.cat([clip, self.t5], dim=1)

    def row(self, index: int) -> TextStates:
        """One caption's, with the batch dimension kept."""
        return self.rows(index, index + 1)

    def rows(self, start: int, end: int) -> TextStates:
        """The captions' from number `start` to before `end`."""
        return self._each(lambda part: part[start:end])

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> TextStates:
        """The states themselves on a device, in a dtype; they travel in the one they are stored in."""
        moved = self._each(lambda part: moved_as(part, device, dtype))
        if moved.t5 is None or moved.t5_scale is None:
            return moved
        return replace(moved, t5=moved.t5 * moved.t5_scale, t5_scale=None)

    def stored_as(self, t5_storage: T5Storage) -> TextStates:
        """As a cache keeps float32 states: on the CPU in float16, T5's in 8 bits where that is wished."""
        halves = self.to("cpu", torch.float16)
        if t5_storage == "fp16" or self.t5 is None:
            return halves
        t5 = self.t5.float().cpu()
        scale = t5.abs().amax(dim=-1, keepdim=True) / _LARGEST
        # A token of zeros alone has the scale 0, and any divisor will do.
        whole = (t5 / scale.where(scale > 0, 1)).round().to(torch.int8)
        return replace(halves, t5=whole, t5_scale=scale)

    def pin_memory(self) -> TextStates:
        """In memory from which a GPU takes it while the processor goes on; DataLoader calls this by its name."""
        return self._each(Tensor.pin_memory)

    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(torch.isfinite(part).all()) for part in self.tensors("").values())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Under file names that end in `.name`."""
        parts = {"clip": self.clip, "pooled": self.pooled, "t5": self.t5, "t5_scale": self.t5_scale}
        return {f"{part}.{name}": held for part, held in parts.items() if held is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> TextStates:
        t5, scale = self.t5, self.t5_scale
        return TextStates(
            change(self.clip),
            None if t5 is None else change(t5),
            change(self.pooled),
            None if scale is None else change(scale),
        )


def moved_as(tensor: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """The tensor on a device in a dtype, sent in whichever is smaller; to a GPU without waiting for it."""
    if torch.device(device).type == "cpu":
        return tensor.to(device, dtype)
    return tensor.to(device, non_blocking=True).to(dtype)


def stack(states: Sequence[TextStates]) -> TextStates:
    """Several captions as one batch; all of them have T5 states, stored alike, or none."""
    return TextStates(
        torch.cat([part.clip for part in states]),
        _together([part.t5 for part in states]),
        torch.cat([part.pooled for part in states]),
        _together([part.t5_scale for part in states]),
    )


def _together(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None
