"""How large everything is: the real sizes on a GPU, few blocks and small pictures on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from davae_core.transformer.presets import SD35_MEDIUM


@dataclass(frozen=True)
class Scale:
    """Where and how large.

    `blocks` of SD3.5 Medium's 24, pictures of `sides` pixels in `batches`, drawn in `steps` steps for texts of `words`
    tokens. Where they are decoded or encoded too they are of `decoded` pixels, whole ones in batches of `pictures`. The
    codec is tried in its `variants`, "" as it is.
    """

    device: str
    dtype: torch.dtype
    blocks: int
    sides: tuple[int, ...]
    decoded: tuple[int, ...]
    batches: tuple[int, ...]
    pictures: tuple[int, ...]
    steps: int
    words: int
    variants: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the transformer has all its blocks."""
        return self.blocks == SD35_MEDIUM.blocks

    def in_words(self) -> str:
        """One line for a report."""
        less = "" if self.whole else f", {self.blocks} of {SD35_MEDIUM.blocks} blocks"
        kind = str(self.dtype).removeprefix("torch.")
        return f"On {self.device} in {kind}{less}; random weights, {self.words} tokens of text."


COMPILED, CHANNELS_LAST = "torch.compile", "channels_last"
GPU = Scale(
    device="cuda",
    dtype=torch.bfloat16,
    blocks=SD35_MEDIUM.blocks,
    sides=(1024, 2048),
    decoded=(1024, 2048),
    batches=(1, 4, 10),
    pictures=(1, 4, 10),
    steps=30,
    words=333,  # 77 of CLIP and 256 of T5
    variants=("", CHANNELS_LAST, COMPILED),
)
CPU = Scale(
    device="cpu",
    dtype=torch.float32,
    blocks=2,
    sides=(256, 512),
    decoded=(192,),
    batches=(1, 2),
    pictures=(1,),
    steps=4,
    words=77,
    variants=("", CHANNELS_LAST),
)


def scale_here() -> Scale:
    """The GPU's where there is one."""
    return GPU if torch.cuda.is_available() else CPU
