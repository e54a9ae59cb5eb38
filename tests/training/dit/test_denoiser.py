"""The objective of stage 2 on latents with and without detail."""

import pytest
import torch

from davae_core.flow import add_noise, published_sample_weights
from davae_core.latents import LatentLayout
from training.dit.config import FlowLossConfig
from training.dit.denoiser import flow_loss

SAMPLE_WEIGHTS = {
    "none": torch.ones_like,
    "x0": torch.square,
    "published": published_sample_weights,
}


@pytest.mark.parametrize("weighting", SAMPLE_WEIGHTS)
def test_without_detail_the_loss_is_the_mean_square_of_the_velocitys_error(weighting):
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    prediction, sigma = torch.randn(2, 3, 4, 4, requires_grad=True), torch.tensor([0.2, 0.7])
    layout = LatentLayout(3, 0, 8, 1, 0.0, 1.0)
    config = FlowLossConfig(weighting=weighting, ramp_steps=4)
    found = flow_loss(prediction, latents, noise, sigma, layout, config, step=0)
    squares = (prediction - (noise - latents)).square().mean(dim=(1, 2, 3))
    wanted = squares * SAMPLE_WEIGHTS[weighting](sigma)
    assert found.keys() == {"loss"}
    torch.testing.assert_close(found["loss"], wanted.mean())
    (gradient,) = torch.autograd.grad(found["loss"], prediction)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted.mean(), prediction)[0])


def test_with_detail_the_ramp_decides_its_weight_and_both_errors_are_told():
    latents = noise = torch.zeros(1, 4, 2, 2)
    prediction = torch.cat([torch.full((1, 1, 2, 2), 1.0), torch.full((1, 3, 2, 2), 2.0)], dim=1)
    config, layout = FlowLossConfig(ramp_steps=4), LatentLayout(1, 3, 8, 2, 0.0, 1.0)
    found = flow_loss(prediction, latents, noise, torch.tensor([0.5]), layout, config, step=2)
    numbers = {name: float(part) for name, part in found.items()}
    assert numbers == pytest.approx({"loss": 2.8, "base": 1, "detail": 4, "detail_weight": 0.5})


@pytest.mark.parametrize("weighting", SAMPLE_WEIGHTS)
def test_a_detail_pass_is_told_the_details_error_and_learns_from_it_alone(weighting):
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    prediction, sigma = torch.randn(2, 4, 4, 4, requires_grad=True), torch.tensor([0.2, 0.7])
    layout = LatentLayout(1, 3, 8, 2, 0.0, 1.0)
    config = FlowLossConfig(weighting=weighting, ramp_steps=0)
    found = flow_loss(prediction, latents, noise, sigma, layout, config, step=0, mode="detail")
    squares = (prediction - (noise - latents)).square()[:, 1:].mean(dim=(1, 2, 3))
    assert found.keys() == {"loss", "detail"} and torch.equal(found["loss"], found["detail"])
    torch.testing.assert_close(found["loss"], (squares * SAMPLE_WEIGHTS[weighting](sigma)).mean())
    (gradient,) = torch.autograd.grad(found["loss"], prediction)
    assert not gradient[:, :1].any() and gradient[:, 1:].all()


def test_the_x0_weight_makes_it_the_error_of_the_latents_that_velocities_lead_to():
    torch.manual_seed(0)
    latents, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    prediction, sigma = torch.randn(3, 2, 4, 4), torch.tensor([0.1, 0.5, 0.9])
    layout, config = LatentLayout(2, 0, 8, 1, 0.0, 1.0), FlowLossConfig(weighting="x0")
    found = flow_loss(prediction, latents, noise, sigma, layout, config, step=0)
    rebuilt = add_noise(latents, noise, sigma) - sigma[:, None, None, None] * prediction
    torch.testing.assert_close(found["loss"], (rebuilt - latents).square().mean())
