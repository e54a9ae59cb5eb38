"""How far a run is."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Says on stderr, now and then, how far a run is."""

    what: str
    every: int

    def __call__(self, done: int, wrong: int) -> None:
        """`done` of all, `wrong` of these not as they must be."""
        if done % self.every == 0:
            print(f"{done} {self.what}, {wrong} wrong", file=sys.stderr, flush=True)
