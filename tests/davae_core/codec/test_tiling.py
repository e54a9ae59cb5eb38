from itertools import pairwise

import pytest
import torch

from davae_core.codec.tiling import map_tiled, tile_starts


@pytest.mark.parametrize("length", [5, 31, 32, 33, 56, 64, 70])
def test_tiles_cover_everything_and_overlap_enough(length):
    starts = tile_starts(length, tile=32, overlap=8)
    assert starts[0] == 0 and starts[-1] == max(length - 32, 0)
    assert all(0 < after - before <= 24 for before, after in pairwise(starts))


def test_a_local_map_is_the_same_tiled_and_whole():
    inputs = torch.randn(2, 3, 21, 34)
    result = map_tiled(
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3) * 3, inputs, 8, 3, (2, 1)
    )
    torch.testing.assert_close(result, inputs.repeat_interleave(2, 2).repeat_interleave(2, 3) * 3)


def test_shrinking_maps_land_on_their_cells():
    inputs = torch.randn(1, 3, 32, 48)
    pool = torch.nn.AvgPool2d(4)
    torch.testing.assert_close(map_tiled(pool, inputs, 16, 4, (1, 4)), pool(inputs))


def test_blending_leaves_no_step_between_tiles_that_disagree():
    offsets = iter(range(100))
    blended = map_tiled(lambda x: x * 0 + next(offsets), torch.zeros(1, 1, 8, 40), 16, 8, (1, 1))
    steps = blended.diff(dim=-1).abs()
    assert blended.max() - blended.min() == 3  # four tiles, at 0, 1, 2 and 3
    assert steps.max() < 0.25


def test_progress_counts_every_tile():
    seen = []
    map_tiled(
        lambda x: x,
        torch.zeros(1, 1, 8, 20),
        8,
        2,
        (1, 1),
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("tile", "overlap", "scale"), [(8, 8, (1, 1)), (8, -1, (1, 1)), (10, 2, (1, 4))]
)
def test_tiles_that_cannot_work_are_refused(tile, overlap, scale):
    with pytest.raises(ValueError, match=r"overlap|multiples"):
        map_tiled(lambda x: x, torch.zeros(1, 1, 32, 32), tile, overlap, scale)
