from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from davae_core.codec.tiling import map_tiled, tiles_of

TILES = st.integers(1, 20).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile - 1)))
"""A tile's side and an overlap that it allows."""
SIDES = st.integers(1, 50)
SCALES = st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 4)])


@given(SIDES, TILES, st.sampled_from([1, 4]))
def test_tiles_cover_every_cell_stay_inside_and_overlap_enough(length, size, unit):
    tile, overlap = size
    found = tiles_of(length * unit, tile * unit, overlap * unit, unit)
    assert found[0].start == 0 and found[-1].stop == length * unit
    assert {part.stop - part.start for part in found} == {found[0].stop}
    assert found[0].stop <= tile * unit
    assert all(part.start % unit == 0 for part in found)
    for before, after in pairwise(found):
        assert before.start < after.start <= before.stop - overlap * unit


@pytest.mark.parametrize(
    ("side", "most"), [(64, 1.2), (128, 1.2), (256, 1.2), (84, 1.25), (200, 1.25)]
)
def test_the_tiles_of_a_large_picture_are_about_a_fifth_more_work(side, most):
    found = tiles_of(side, 48, 4)
    assert (sum(part.stop - part.start for part in found) / side) ** 2 <= most


@given(SIDES, SIDES, TILES, SCALES)
def test_a_local_map_is_the_same_tiled_and_whole(height, width, size, scale):
    multiply, divide = scale

    def local(cells):
        return (
            F.avg_pool2d(cells, divide)
            .repeat_interleave(multiply, 2)
            .repeat_interleave(multiply, 3)
        )

    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 2, height * divide, width * divide, generator=random)
    # Blending weights that did not sum to 1 would scale the result.
    found = map_tiled(local, inputs, size[0] * divide, size[1] * divide, scale)
    torch.testing.assert_close(found, local(inputs))


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
