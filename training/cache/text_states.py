"""What an SD3 transformer is told of a caption, as it is cached: CLIP states, T5 states, pooled vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class TextStates:
    """The text of B captions.

    `clip` [B, 77, w]: penultimate states, CLIP-L's and CLIP-G's side by side where both exist. `t5` [B, T, 4096] or
    None. `pooled` [B, p].
    """

    clip: Tensor
    t5: Tensor | None
    pooled: Tensor

    def context(self, width: int) -> Tensor:
        """[B, 77 + T, width]: the CLIP states filled up to `width` with zeros, then the T5 states."""
        clip = F.pad(self.clip, (0, width - self.clip.shape[-1]))
        return clip if self.t5 is None else torch.cat([clip, self.t5], dim=1)

    def row(self, index: int) -> TextStates:
        """One caption's, with the batch dimension kept."""
        part = slice(index, index + 1)
        return TextStates(
            self.clip[part], None if self.t5 is None else self.t5[part], self.pooled[part]
        )

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> TextStates:
        """The same on a device, in a dtype."""
        return TextStates(
            self.clip.to(device, dtype),
            None if self.t5 is None else self.t5.to(device, dtype),
            self.pooled.to(device, dtype),
        )

    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(torch.isfinite(part).all()) for part in self.tensors("").values())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Under file names that end in `.name`."""
        found = {f"clip.{name}": self.clip, f"pooled.{name}": self.pooled}
        return found if self.t5 is None else {**found, f"t5.{name}": self.t5}


def stack(states: Sequence[TextStates]) -> TextStates:
    """Several captions as one batch."""
    t5 = [part.t5 for part in states if part.t5 is not None]
    return TextStates(
        torch.cat([part.clip for part in states]),
        torch.cat(t5) if t5 else None,
        torch.cat([part.pooled for part in states]),
    )
