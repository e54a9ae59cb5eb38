"""Bars in the terminal."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm


def progress_bar(
    total: int, title: str, unit: str, shown: bool, done: int = 0, stays: bool = False
) -> tqdm[NoReturn]:
    """A bar with the time left over `total` units of work, `done` of them before.

    `shown`: false in all processes but the main one; `stays`: whether it is still there when it is closed.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=title,
        unit=unit,
        leave=stays,
        dynamic_ncols=True,
        # Into a file, a line now and then is enough.
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        disable=not shown,
    )
