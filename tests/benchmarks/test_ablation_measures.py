"""The measures of the ablation: they rank pictures as an eye would, and agree with scipy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm

from benchmarks.ablation.arms import SIDE
from benchmarks.ablation.features import WIDTHS, RandomFeatures
from benchmarks.ablation.frechet import frechet_distance, moments, standardised
from benchmarks.ablation.measuring import look, measures, rendered, scenes
from benchmarks.ablation.sharpness import high_frequency_energy


@pytest.fixture(scope="module")
def wanted():
    return scenes(5_000_000, 24)


@pytest.fixture(scope="module")
def real(wanted):
    return torch.cat(list(rendered(wanted)))


@pytest.fixture(scope="module")
def real_seen(real, wanted):
    return look([real], wanted, "real")


def enlarged(pictures: torch.Tensor, times: int) -> torch.Tensor:
    small = F.avg_pool2d(pictures, times)
    return F.interpolate(small, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)


def test_the_distance_is_that_of_the_textbook():
    random = torch.Generator().manual_seed(0)
    first = torch.randn(200, 6, generator=random) @ torch.randn(6, 6, generator=random)
    second = torch.randn(200, 6, generator=random) @ torch.randn(6, 6, generator=random) + 0.5
    a, b = moments(first), moments(second)
    mixed = np.trace(sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real)
    wanted = float(
        (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * mixed
    )
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_equal_features_are_no_distance_apart_even_with_fewer_than_dimensions():
    few = torch.randn(10, 40, generator=torch.Generator().manual_seed(1))
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0.0, abs=1e-4)


def test_every_standardised_feature_counts_alike():
    real = torch.randn(500, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [1.0, 100.0, 0.01]
    )
    assert torch.allclose(standardised(real, real).std(dim=0), torch.ones(3), atol=1e-5)


def test_features_are_the_same_in_every_process_and_for_every_batch(real):
    features = RandomFeatures()(real[:4])
    assert features.shape == (4, sum(WIDTHS)) and features.dtype == torch.float64
    one_by_one = torch.cat([RandomFeatures()(picture[None]) for picture in real[:4]])
    assert torch.allclose(features, one_by_one, atol=1e-6)
    # A change of the weights would make committed distances incomparable.
    assert RandomFeatures().weights[0][0, 0, 0, 0].item() == pytest.approx(0.360086, abs=1e-5)


def test_the_deeper_stages_do_not_see_brightness():
    flat = torch.stack([torch.full((3, 64, 64), level) for level in (-0.5, 0.5)])
    dark, bright = RandomFeatures()(flat)
    assert not torch.allclose(dark[:32], bright[:32])
    assert dark[32:].abs().max() < 1e-5 and bright[32:].abs().max() < 1e-5


def test_sharpness_is_what_half_the_size_loses_and_grain_adds(real):
    energy = high_frequency_energy(real).mean()
    grained = (
        real + 0.05 * torch.randn(real.shape, generator=torch.Generator().manual_seed(3))
    ).clamp(-1, 1)
    assert high_frequency_energy(enlarged(real, 2)).mean() < 0.15 * energy
    assert high_frequency_energy(grained).mean() > 1.1 * energy


def test_a_frequency_is_counted_from_a_quarter_of_a_cycle_per_pixel_on():
    places = torch.arange(64.0)

    def waves(cycles_per_pixel: float) -> torch.Tensor:
        return torch.sin(2 * torch.pi * cycles_per_pixel * places).expand(1, 3, 64, 64)

    assert high_frequency_energy(waves(0.35)) > 1e3 * high_frequency_energy(waves(0.15))


def test_real_pictures_show_their_captions_and_are_as_sharp_as_themselves(real_seen):
    found = measures(real_seen, real_seen)
    assert found.fd == pytest.approx(0.0, abs=1e-3)
    assert found.prompt_accuracy == 1.0 and found.sharpness == 1.0


def test_blurred_pictures_are_farther_off_the_more_they_are_blurred(real, wanted, real_seen):
    half, quarter = (
        measures(look([enlarged(real, times)], wanted, "blurred"), real_seen) for times in (2, 4)
    )
    assert 0.0 < half.fd < quarter.fd
    assert quarter.sharpness < half.sharpness < 1.0


def test_pictures_under_the_wrong_captions_are_found_out(real, wanted):
    shifted = [*wanted[1:], wanted[0]]
    assert look([real], shifted, "shifted").looks.accurate.double().mean() < 0.3


def test_grey_pictures_show_no_caption(real, wanted, real_seen):
    grey = real.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    found = measures(look([grey], wanted, "grey"), real_seen)
    assert found.prompt_accuracy == 0.0 and found.fd > 1.0


def test_measures_do_not_depend_on_the_batch(real, wanted, real_seen):
    seen = look(real.split(7), wanted, "in sevens")
    assert torch.allclose(seen.features, real_seen.features, atol=1e-6)
    assert torch.equal(seen.looks.accurate, real_seen.looks.accurate)
