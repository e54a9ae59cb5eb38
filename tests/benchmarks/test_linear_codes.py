"""The linear anchors: thresholds of the miniature are relative to them, so their numbers are fixed here."""

import pytest
import torch

from benchmarks.miniature.linear_codes import fit_linear_code, fit_on_training_photographs
from benchmarks.miniature.measures import held_out_pictures
from davae_core.metrics import psnr

ANCHORS = {
    (8, 16): {"astronaut": 28.68, "coffee": 27.58, "chelsea": 32.91, "rocket": 28.69, "camera": 30.29, "china": 22.70},
    (16, 32): {"astronaut": 26.95, "coffee": 26.31, "chelsea": 31.21, "rocket": 27.75, "camera": 28.36, "china": 21.63},
}  # fmt: skip


def noise(height=32, width=48):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("factor", "components"), ANCHORS)
def test_the_anchors_have_the_numbers_of_the_report(factor, components):
    pictures = held_out_pictures(16)
    code = fit_on_training_photographs(factor, components)
    found = {name: psnr(code.reconstruct(p), p).item() for name, p in pictures.items()}
    assert found == pytest.approx(ANCHORS[factor, components], abs=0.05)


def test_a_code_as_long_as_its_patch_loses_nothing():
    picture = noise()
    code = fit_linear_code([picture], 2, 12)
    assert torch.allclose(code.reconstruct(picture), picture, atol=1e-5)


def test_no_other_code_of_that_length_does_better_on_what_it_was_fitted_to():
    picture = noise()
    code = fit_linear_code([picture], 4, 8)
    rival = fit_linear_code([noise(64, 64).flip(-1) ** 3], 4, 8)
    assert torch.allclose(code.basis.T @ code.basis, torch.eye(8).double(), atol=1e-9)
    ours = (code.reconstruct(picture) - picture).square().mean()
    theirs = (rival.reconstruct(picture) - picture).square().mean()
    assert ours < theirs


def test_nothing_to_fit_and_too_long_a_code_are_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        fit_linear_code([], 8, 16)
    with pytest.raises(ValueError, match="12 numbers"):
        fit_linear_code([noise()], 2, 13)
