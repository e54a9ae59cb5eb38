"""Aspect buckets: sizes of one area, the nearest to a picture, and pictures brought to them."""

import pytest
import torch

from training.cache.buckets import Size, bucket_sizes, fill_and_crop, nearest_bucket


def test_buckets_keep_the_area_and_the_multiple():
    found = bucket_sizes(1024, 64, 2.0)
    assert Size(1024, 1024) in found
    for size in found:
        assert size.height % 64 == size.width % 64 == 0
        assert abs(size.height * size.width / 1024**2 - 1) < 0.1
        assert max(size.height, size.width) <= 2 * min(size.height, size.width)
        assert Size(size.width, size.height) in found
    assert len(found) > 9


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
