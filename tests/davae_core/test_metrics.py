"""PSNR and SSIM against scikit-image."""

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from davae_core.metrics import psnr, ssim


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 3, 40, 56, generator=generator) * 2 - 1
    # The second picture is much noisier, so that a mean over the batch would show.
    noise = torch.randn(2, 3, 40, 56, generator=generator) * torch.tensor([0.05, 0.4]).view(
        2, 1, 1, 1
    )
    return (reference + noise).clamp(-1, 1), reference


def test_psnr_equals_scikit_image_picture_by_picture(pair):
    pictures, references = pair
    ours = psnr(pictures, references)
    for index in range(2):
        theirs = peak_signal_noise_ratio(
            references[index].double().numpy(), pictures[index].double().numpy(), data_range=2
        )
        assert ours[index].item() == pytest.approx(theirs, abs=1e-9)


def test_ssim_equals_scikit_image_picture_by_picture(pair):
    pictures, references = pair
    ours = ssim(pictures, references)
    for index in range(2):
        theirs = structural_similarity(
            references[index].double().numpy(),
            pictures[index].double().numpy(),
            data_range=2,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ours[index].item() == pytest.approx(theirs, abs=1e-9)


def test_equal_pictures_have_infinite_psnr_and_ssim_one(pair):
    picture = pair[1]
    assert torch.isinf(psnr(picture, picture)).all()
    assert torch.allclose(ssim(picture, picture), torch.ones(2, dtype=torch.float64))


def test_values_outside_the_range_are_clamped_before_measuring(pair):
    picture = pair[1]
    assert torch.isinf(psnr(torch.full_like(picture, 3.0), torch.ones_like(picture))).all()


def test_pictures_of_different_shapes_are_refused(pair):
    with pytest.raises(ValueError, match="same shape"):
        psnr(pair[0][..., :-1], pair[1])


def test_ssim_refuses_pictures_smaller_than_its_window():
    small = torch.zeros(1, 3, 10, 40)
    with pytest.raises(ValueError, match="11x11"):
        ssim(small, small)
