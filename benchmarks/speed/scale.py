"""How large everything is: the real sizes on a GPU, few blocks and small pictures on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from davae_core.transformer.presets import SD35_MEDIUM


@dataclass(frozen=True)
class Scale:
    """Where and how large.

    `blocks` of SD3.5 Medium's 24, pictures of `sides` pixels in `batches`, drawn in `steps` steps for texts of `words`
    tokens; `compiled` says whether torch.compile is tried as well.
    """

    device: str
    dtype: torch.dtype
    blocks: int
    sides: tuple[int, ...]
    batches: tuple[int, ...]
    steps: int
    words: int
    compiled: bool

    @property
    def whole(self) -> bool:
        """Whether the transformer has all its blocks."""
        return self.blocks == SD35_MEDIUM.blocks

    def in_words(self) -> str:
        """One line for a report."""
        less = "" if self.whole else f", {self.blocks} of {SD35_MEDIUM.blocks} blocks"
        kind = str(self.dtype).removeprefix("torch.")
        return f"On {self.device} in {kind}{less}; random weights, {self.words} tokens of text."


GPU = Scale("cuda", torch.bfloat16, SD35_MEDIUM.blocks, (1024, 2048), (1, 4, 10), 28, 333, True)
"""77 tokens of CLIP and 256 of T5."""
CPU = Scale("cpu", torch.float32, 2, (256, 512), (1, 2), 2, 77, False)


def scale_here() -> Scale:
    """The GPU's where there is one."""
    return GPU if torch.cuda.is_available() else CPU
