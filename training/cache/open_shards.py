"""Shards kept open: opening one and reading its header takes a hundred times as long as a picture of it."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from davae_core.files import CheckpointError, open_safetensors, read_tensor

MOST_OPEN = 64
"""Shards that a process keeps open; the header of one of a thousand pictures takes about a megabyte."""


class OpenShard:
    """One open file and the names of its tensors. Raises CheckpointError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path, self._stack = path, ExitStack()
        self._file: Any = self._stack.enter_context(open_safetensors(path))
        self.names = frozenset(self._file.keys())

    def tensor(self, name: str) -> Tensor:
        """A tensor as it is stored. Raises CheckpointError when it cannot be read."""
        try:
            return read_tensor(self._path, self._file, name)
        except SafetensorError as error:
            raise CheckpointError(
                f"{self._path} does not hold {name}: run `python -m training cache` again, which makes it anew."
            ) from error

    def close(self) -> None:
        """Let the file go."""
        self._stack.close()


class OpenShards:
    """The shards that this process has open, at most `most`, of which the one not used for longest is closed first.

    A process that was forked off, or got this pickled, opens its own.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._forget()

    def __getstate__(self) -> int:
        return self._most

    def __setstate__(self, most: int) -> None:
        self._most = most
        self._forget()

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, path: Path) -> OpenShard:
        if os.getpid() != self._process:
            self._forget()
        found = self._open.pop(path, None) or OpenShard(path)
        self._open[path] = found
        if len(self._open) > self._most:
            self._open.popitem(last=False)[1].close()
        return found

    def __contains__(self, path: Path) -> bool:
        return os.getpid() == self._process and path in self._open

    def close_removed(self) -> None:
        """Close those whose files were removed: each takes its room on the disk as long as it is open."""
        for gone in [path for path in self._open if path in self and not path.exists()]:
            self._open.pop(gone).close()

    def _forget(self) -> None:
        # Files that a parent opened stay its own: nothing is closed here.
        self._open: OrderedDict[Path, OpenShard] = OrderedDict()
        self._process = os.getpid()
