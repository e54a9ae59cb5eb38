"""The files that every arm starts from: the bundled miniature's, or another one's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from davae_core import mini


@dataclass(frozen=True)
class Stack:
    """The files that every arm starts from."""

    davae: Path
    clip: Path
    transformer: Path


def bundled_stack() -> Stack:
    """The miniature in davae_core/mini."""
    return Stack(mini.davae_path(), mini.clip_path(), mini.transformer_path())


def stack_of(folder: Path | None) -> Stack:
    """The miniature that `python -m training mini` wrote into `folder`; None for the bundled one."""
    bundled = bundled_stack()
    if folder is None:
        return bundled
    return Stack(
        folder / bundled.davae.name,
        folder / bundled.clip.name,
        folder / bundled.transformer.name,
    )
