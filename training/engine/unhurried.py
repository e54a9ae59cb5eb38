"""Work that processes wait for as long as it takes, while a process that died is noticed within a minute or two.

PyTorch's own waits know one limit alone. Where one process works longer than the others, as the main one does on a
checkpoint, that would have to be hours. So each process counts up a number in the process group's store every second,
and who waits gives up on another one only when its number stands still.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from torch import distributed
from torch.distributed import DistError
from torch.distributed.distributed_c10d import Store, _get_default_store

from ..errors import TrainingError

SILENCE = 60.0
"""Seconds without a sign of life after which a process counts as dead."""
_BEAT = 1.0
_LOOK = 0.1
_FAILED = "failed"


def show_life() -> None:
    """Count this process's number up from now on, in a thread of its own; alone it does nothing."""
    if _alone():
        return
    store, rank = _store(), distributed.get_rank()

    def beat() -> None:
        while True:
            try:
                store.add(_beats(rank), 1)
            except DistError:
                # The process that kept the store is gone, which whoever waits finds out.
                return
            time.sleep(_BEAT)

    Thread(target=beat, daemon=True).start()


@contextmanager
def unhurried(silence: float = SILENCE) -> Iterator[None]:
    """What is done inside may take any time in any process; behind it all of them are together again.

    All processes must enter it, in the same order, after `show_life`. Raises TrainingError when another one fails
    inside, or gives no sign of life for `silence` seconds.
    """
    if _alone():
        yield
        return
    store, rank = _store(), distributed.get_rank()
    # Each process counts its own turns; as all take them in the same order, the numbers agree.
    turn = f"unhurried/{store.add(f'unhurried/turns/{rank}', 1)}"
    try:
        yield
    except BaseException:
        with suppress(DistError):
            store.add(f"{turn}/{_FAILED}", 1)
        raise
    everyone = distributed.get_world_size()
    _count(store, f"{turn}/done", 1)
    _wait(store, turn, "done", everyone, silence)
    _count(store, f"{turn}/left", 1)
    # The store is in the first process, as a rule: it leaves last, lest the others ask one that is gone.
    if rank == 0:
        _wait(store, turn, "left", everyone, silence)


def _alone() -> bool:
    return not distributed.is_initialized() or distributed.get_world_size() == 1


def _store() -> Store:
    # PyTorch gives it under no public name.
    return _get_default_store()


def _beats(rank: int) -> str:
    return f"unhurried/beats/{rank}"


def _count(store: Store, name: str, more: int) -> int:
    try:
        return int(store.add(name, more))
    except DistError as error:
        raise _lost("The first process") from error


def _wait(store: Store, turn: str, place: str, wanted: int, silence: float) -> None:
    """Until so many processes told that they are at `place`."""
    start = time.monotonic()
    heard = dict.fromkeys(range(distributed.get_world_size()), (0, start))
    looked = start
    while _count(store, f"{turn}/{place}", 0) < wanted:
        if _count(store, f"{turn}/{_FAILED}", 0):
            raise TrainingError(
                "Another process failed: its own message says why; mend that and run the same command again."
            )
        now = time.monotonic()
        if now - looked >= min(_BEAT, silence):
            looked = now
            _listen(store, heard, silence)
        time.sleep(_LOOK)


def _listen(store: Store, heard: dict[int, tuple[int, float]], silence: float) -> None:
    """Note the numbers that went on; raise TrainingError for one that stands still too long."""
    now = time.monotonic()
    for rank, (before, since) in heard.items():
        beats = _count(store, _beats(rank), 0)
        if beats != before:
            heard[rank] = beats, now
        elif now - since > silence:
            raise _lost(f"Process {rank}")


def _lost(who: str) -> TrainingError:
    return TrainingError(
        f"{who} gave no sign of life for a minute or is gone: look at its machine and its messages, then run the same "
        "command again, which goes on."
    )
