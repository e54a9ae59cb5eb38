"""The order of stage 2's batches by windows of shards: every picture once an epoch, and nothing read from afar."""

import numpy as np
import pytest

from training.engine.order import BatchOrder
from training.engine.shard_windows import ShardWindows

SHARD_OF = np.repeat(np.arange(11), 30)
"""Eleven shards of thirty pictures."""


def sizes() -> list[np.ndarray]:
    of = np.random.default_rng(0).integers(0, 3, len(SHARD_OF))
    return [np.flatnonzero(of == size) for size in range(3)]


def order(window: int, size: int = 4, seed: int = 7) -> tuple[BatchOrder, ShardWindows]:
    windows = ShardWindows(sizes(), SHARD_OF, seed, window)
    return BatchOrder(sizes(), size, seed, windows), windows


@pytest.mark.parametrize("window", [1, 3, 4, 11, 50])
def test_a_batch_is_of_its_windows_shards_and_an_epoch_has_every_picture(window: int) -> None:
    found, windows = order(window)
    epoch, number = windows.per_epoch, 0
    for _ in range(2):
        first, seen, shards = found.window_of(number), [], []
        while found.window_of(number) < first + epoch:
            rows = found.rows(number)
            own = windows.shards(found.window_of(number))
            assert len(own) <= window and set(SHARD_OF[rows]) <= set(own)
            assert sum(set(rows) <= set(size) for size in sizes()) == 1
            seen.append(rows)
            number += 1
        assert set(np.concatenate(seen)) == set(range(len(SHARD_OF)))
        # Filled up is at most the last batch of each size in a window.
        assert len(np.concatenate(seen)) - len(SHARD_OF) <= epoch * 3 * 3
        shards = [shard for part in range(first, first + epoch) for shard in windows.shards(part)]
        assert sorted(shards) == list(range(11))
    assert found.per_epoch == next(n for n in range(number) if found.window_of(n) == epoch)


def test_an_order_is_the_same_from_the_middle_on_and_another_in_every_epoch_and_for_every_seed() -> (
    None
):
    walked, _ = order(3)
    rows = [walked.rows(number) for number in range(400)]
    for number in (399, 200, 0, 111):
        assert np.array_equal(order(3)[0].rows(number), rows[number])
    _, windows = order(3)
    assert windows.shards(0) != windows.shards(windows.per_epoch)
    assert not np.array_equal(order(3, seed=8)[0].rows(0), rows[0])


def test_pictures_of_a_window_are_mixed() -> None:
    found, windows = order(4)
    beginnings = [len(set(SHARD_OF[found.rows(number)])) for number in range(20)]
    assert windows.per_epoch == 3 and max(beginnings) >= 3
