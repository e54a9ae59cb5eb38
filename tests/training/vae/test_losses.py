import pytest
import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import Moments
from training.vae.config import KLLossConfig, LossConfig, PerceptualConfig
from training.vae.losses import gradient_ratio, kl_loss, reconstruction_loss, texture_loss
from training.vae.trainees import Forward


def outputs(made: Tensor, wanted: Tensor) -> Forward:
    return Forward(made, wanted)


def unchanged(gradient: Tensor) -> Tensor:
    return gradient


def test_reconstruction_adds_up_its_weighted_terms() -> None:
    made, wanted = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    total, parts = reconstruction_loss(outputs(made, wanted), LossConfig(l1=2.0, mse=3.0), None)
    assert (float(parts["l1"]), float(parts["mse"])) == (0.5, 0.25)
    assert float(total) == pytest.approx(2.0 * 0.5 + 3.0 * 0.25)


def test_a_perceptual_distance_is_averaged_and_weighted() -> None:
    made, wanted = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    config = LossConfig(l1=0.0, perceptual=PerceptualConfig(kind="lpips", weight=0.5))
    total, parts = reconstruction_loss(
        outputs(made, wanted), config, lambda a, b: (b - a).sum(dim=(1, 2, 3))
    )
    assert float(parts["perceptual"]) == 48.0
    assert float(total) == 24.0


def striped(shift: int = 0) -> Tensor:
    columns = (torch.arange(32) + shift) // 2 % 2
    return (columns * 2.0 - 1.0).expand(1, 3, 32, 32).contiguous()


def test_texture_punishes_blur_and_speckle_but_not_a_shifted_pattern() -> None:
    blurred = nn.functional.avg_pool2d(striped(), 3, 1, 1)
    flat = torch.zeros(1, 3, 32, 32)
    speckled = flat + 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert float(texture_loss(striped(), striped())) == 0.0
    assert float(texture_loss(striped(1), striped())) < 0.05 * float(
        texture_loss(blurred, striped())
    )
    assert float(texture_loss(speckled, flat)) > 0.05
    total, parts = reconstruction_loss(
        outputs(blurred, striped()), LossConfig(l1=0.0, texture=2.0), None
    )
    assert float(total) == pytest.approx(2.0 * float(parts["texture"]))


def test_texture_has_a_finite_slope_on_a_flat_surface() -> None:
    made = torch.zeros(1, 3, 16, 16, requires_grad=True)
    texture_loss(made, striped()[..., :16, :16]).backward()
    assert made.grad is not None and torch.isfinite(made.grad).all()


def test_kl_per_picture_sums_and_per_value_averages() -> None:
    posterior = Moments(torch.ones(2, 4, 3, 3), torch.zeros(2, 4, 3, 3))
    assert float(kl_loss(posterior, KLLossConfig(per="picture"))) == pytest.approx(18.0)
    assert float(kl_loss(posterior, KLLossConfig(per="value"))) == pytest.approx(0.5)


def test_kl_agrees_with_torch_distributions() -> None:
    torch.manual_seed(0)
    mean, logvar = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(0.5 * logvar)),
        torch.distributions.Normal(0.0, 1.0),
    )
    torch.testing.assert_close(
        kl_loss(Moments(mean, logvar), KLLossConfig(per="value")), expected.mean()
    )


def test_the_gradient_ratio_makes_both_pull_equally_hard() -> None:
    layer = nn.Parameter(torch.tensor([1.0, 2.0]))
    reference, loss = (3.0 * layer).sum(), (12.0 * layer).sum()
    ratio = gradient_ratio(reference, loss, layer, unchanged)
    assert float(ratio) == pytest.approx(0.25, rel=1e-4)
    assert not ratio.requires_grad


def test_the_gradient_ratio_has_a_ceiling() -> None:
    layer = nn.Parameter(torch.tensor([1.0]))
    ratio = gradient_ratio(1e6 * layer.sum(), 0.0 * layer.sum(), layer, unchanged)
    assert float(ratio) == 1e4


def test_the_gradient_ratio_leaves_no_gradients_behind() -> None:
    layer = nn.Parameter(torch.tensor([1.0]))
    gradient_ratio(layer.sum(), 2 * layer.sum(), layer, unchanged)
    assert layer.grad is None
