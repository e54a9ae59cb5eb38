"""Pictures of any size become a codec's."""

import pytest
import torch

from davae_core.fit import FITS, fill_square, fit_picture


def gradient(height, width):
    """[1, 3, H, W] in [0, 1], rising to the right."""
    return torch.linspace(0, 1, width).expand(1, 3, height, width)


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_that_fits_stays_as_it_is(fit):
    picture = torch.rand(2, 3, 48, 32)
    assert torch.equal(fit_picture(picture, 16, fit), picture)


@pytest.mark.parametrize(
    ("fit", "size"), [("crop", (656, 992)), ("pad", (672, 1008)), ("resize", (672, 1008))]
)
def test_another_one_gets_the_nearest_size_of_its_kind(fit, size):
    assert fit_picture(gradient(667, 1003), 16, fit).shape == (1, 3, *size)


def test_padding_keeps_every_pixel_and_repeats_the_outermost():
    picture = torch.rand(1, 3, 20, 31)
    padded = fit_picture(picture, 16, "pad")
    assert torch.equal(padded[..., 6:26, :31], picture)
    assert torch.equal(padded[..., :6, :31], picture[..., :1, :].expand(-1, -1, 6, -1))
    assert torch.equal(padded[..., 6:26, 31], picture[..., 30])


def test_resizing_keeps_the_whole_picture_and_its_range():
    resized = fit_picture(gradient(40, 39), 16, "resize")
    assert resized.shape[-2:] == (32, 32)
    torch.testing.assert_close(resized[0, 0, 0], (torch.arange(32) + 0.5) / 32, atol=0.02, rtol=0)
    checks = (torch.rand(1, 3, 35, 35) > 0.5).float()
    found = fit_picture(checks, 16, "resize")
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("fit", FITS)
def test_half_precision_stays_half_precision(fit):
    assert fit_picture(gradient(35, 35).half(), 16, fit).dtype == torch.float16


def test_a_small_picture_can_be_enlarged_or_padded_but_not_cropped():
    small = gradient(10, 40)
    assert fit_picture(small, 16, "pad").shape[-2:] == (16, 48)
    assert fit_picture(small, 16, "resize").shape[-2:] == (16, 32)
    with pytest.raises(ValueError, match="40x10 pixels; both sides must be at least 16"):
        fit_picture(small, 16, "crop")


@pytest.mark.parametrize("size", [(20, 40), (40, 20)])
def test_a_square_is_the_middle_of_the_picture_at_the_size_of_its_shorter_side(size):
    picture = gradient(*size)
    found = fill_square(picture, 10)
    assert found.shape == (1, 3, 10, 10)
    lying = size[1] > size[0]
    # The middle half of a lying picture, the whole width of an upright one.
    ends = (0.25, 0.75) if lying else (0.0, 1.0)
    assert found[0, 0, 0, 0] == pytest.approx(ends[0], abs=0.06)
    assert found[0, 0, 0, -1] == pytest.approx(ends[1], abs=0.06)
    assert torch.equal(
        fill_square(picture, 20), picture[..., 10:30] if lying else picture[..., 10:30, :]
    )
