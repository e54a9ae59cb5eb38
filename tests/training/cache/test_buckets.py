"""Aspect buckets: sizes of one area, the nearest to a picture, and pictures brought to them."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.cache.buckets import Size, bucket_sizes, fill_and_crop, nearest_bucket
from training.cache.config import ImagesConfig
from training.errors import TrainingError


def test_buckets_keep_the_area_and_the_multiple():
    found = bucket_sizes(1024, 64, 2.0)
    assert Size(1024, 1024) in found
    for size in found:
        assert size.height % 64 == size.width % 64 == 0
        assert abs(size.height * size.width / 1024**2 - 1) < 0.1
        assert max(size.height, size.width) <= 2 * min(size.height, size.width)
        assert Size(size.width, size.height) in found
    assert len(found) > 9


RULES = st.tuples(st.integers(1, 64), st.floats(1.0, 4.0)).flatmap(
    lambda rule: st.tuples(
        st.integers(int(rule[0] * rule[1]) + 1, 1024), st.just(rule[0]), st.just(rule[1])
    )
)
"""Side, multiple and longest ratio, where no bucket is so narrow that a multiple is a coarse step."""
SHARES = st.floats(0.0, 1.0)


@given(RULES)
def test_buckets_of_any_rule_keep_it_and_come_near_the_area(rule):
    side, multiple, longest = rule
    found = bucket_sizes(side, multiple, longest)
    square = side // multiple * multiple
    assert Size(square, square) in found
    assert len(set(found)) == len(found)
    assert [size.height for size in found] == sorted(size.height for size in found)
    for size in set(found) - {Size(square, square)}:
        short, long = sorted((size.height, size.width))
        assert short % multiple == long % multiple == 0 and multiple <= short
        assert long <= longest * short
        assert Size(size.width, size.height) in found
        # One side is rounded to the nearest multiple.
        assert abs(short * long - side**2) <= long * multiple / 2


@given(RULES, st.integers(1, 3), st.data())
def test_a_picture_with_a_bucket_s_aspect_goes_into_a_bucket_of_that_aspect(rule, times, data):
    buckets = bucket_sizes(*rule)
    size = data.draw(st.sampled_from(buckets))
    found = nearest_bucket(times * size.height, times * size.width, buckets)
    assert found.width * size.height == found.height * size.width


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.builds(Size, st.integers(1, 40), st.integers(1, 40)),
    SHARES,
    SHARES,
)
def test_a_picture_of_any_size_fills_any_bucket_without_a_border(sides, size, across, down):
    plain = torch.full((3, *sides), 201, dtype=torch.uint8)
    found = fill_and_crop(plain, size, across, down)
    assert found.shape == (3, size.height, size.width) and found.dtype == torch.uint8
    assert bool((found == 201).all())


def test_longest_one_leaves_the_square():
    assert bucket_sizes(128, 32, 1.0) == (Size(128, 128),)


def test_impossible_buckets_are_refused():
    with pytest.raises(ValueError, match="at least 64"):
        bucket_sizes(32, 64, 2.0)


def test_the_nearest_bucket_has_the_nearest_aspect():
    buckets = bucket_sizes(256, 32, 2.0)
    wide = nearest_bucket(300, 500, buckets)
    assert wide.width > wide.height
    assert nearest_bucket(400, 400, buckets) == Size(256, 256)


def test_pictures_fill_their_bucket_and_are_cut_in_the_middle():
    picture = torch.zeros(3, 64, 128, dtype=torch.uint8)
    picture[:, :, 32:96] = 255
    found = fill_and_crop(picture, Size(64, 64))
    assert found.shape == (3, 64, 64) and bool((found == 255).all())
    left = fill_and_crop(picture, Size(64, 64), across=0.0)
    assert int(left[0, 0, 0]) == 0


def test_a_picture_of_the_right_size_stays_as_it_is():
    picture = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    assert torch.equal(fill_and_crop(picture, Size(32, 48)), picture)


def test_sizes_by_name_take_the_buckets_place():
    config = ImagesConfig(sizes=("1024x1024", "832x1216"))
    assert config.buckets() == (Size(1024, 1024), Size(1216, 832))
    assert ImagesConfig(side=64, longest=1.0).buckets() == (Size(64, 64),)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((), "images.sizes is an empty list"),
        (("832x1216", "1000x1024"), "images.sizes has 1000x1024, whose sides must be multiples"),
        (("832",), "images.sizes has '832', but a size is a width and a height such as 1216x832"),
        (("0x32",), "but a size is a width and a height"),
        (("32x999999",), "but a size is a width and a height"),
    ],
)
def test_wrong_sizes_are_refused(sizes, words):
    with pytest.raises(TrainingError, match=re.escape(words)):
        ImagesConfig(sizes=sizes)
