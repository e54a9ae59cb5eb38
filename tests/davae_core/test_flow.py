import pytest
import torch

from davae_core.flow import (
    add_noise,
    add_noise_apart,
    cosine_loss,
    detail_loss,
    detail_weight,
    even_sigmas,
    published_sample_weights,
    published_training_sigmas,
    sample_detail,
    sample_euler,
    sample_sigmas,
    shift_sigma,
    shifted_sigmas,
    velocity_loss,
    velocity_target,
)
from davae_core.latents import LatentLayout, split

PUBLISHED_30 = (
    1, .9912, .9819, .9721, .9617, .9507, .9390, .9266, .9134, .8993, .8842, .8680, .8507, .8319, .8117, .7898, .7659,
    .7399, .7113, .6799, .6451, .6064, .5630, .5142, .4588, .3954, .3220, .2362, .1344, .0119, 0,
)  # fmt: skip
LAYOUT = LatentLayout(3, 5, 8, 2, 0.0, 1.0)


def test_thirty_steps_at_shift_4_are_the_published_ones():
    sigmas = shifted_sigmas(30, 4.0)
    assert sigmas.dtype == torch.float32
    torch.testing.assert_close(sigmas, torch.tensor(PUBLISHED_30), atol=5.1e-5, rtol=0)


@pytest.mark.parametrize(("steps", "shift"), [(1, 4.0), (7, 3.0), (30, 4.0), (50, 5.0)])
def test_sigmas_are_those_of_diffusers_sd3_scheduler(steps, shift):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_shift(shift)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(shifted_sigmas(steps, shift), scheduler.sigmas, atol=1e-6, rtol=0)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least one step"):
        shifted_sigmas(0, 4.0)


def test_shift_moves_levels_towards_noise_and_1_leaves_them():
    assert shift_sigma(0.5, 4.0) == pytest.approx(0.8)
    assert shift_sigma(0.3, 1.0) == pytest.approx(0.3)
    ends = torch.tensor([0.0, 1.0])
    assert torch.equal(shift_sigma(ends, 4.0), ends)


def test_the_published_training_levels_are_a_thousand_with_noise_first():
    levels = published_training_sigmas(4.0)
    assert len(levels) == 1000 and levels[0] == 1
    found = [round(float(levels[place]), 3) for place in (250, 500, 750)]
    assert found == [0.923, 0.801, 0.573]


def test_training_levels_are_logit_normal_before_the_shift():
    generator = torch.Generator().manual_seed(0)
    sigmas = sample_sigmas(20_000, 4.0, generator)
    unshifted = torch.logit(shift_sigma(sigmas.double(), 1 / 4.0))
    assert sigmas.min() > 0 and sigmas.max() < 1
    assert abs(unshifted.mean()) < 0.03 and abs(unshifted.std() - 1) < 0.03
    again = sample_sigmas(20_000, 4.0, torch.Generator().manual_seed(0))
    assert torch.equal(sigmas, again)


def test_the_published_grid_draws_only_its_own_levels_with_the_same_spread():
    generator = torch.Generator().manual_seed(0)
    sigmas = sample_sigmas(20_000, 4.0, generator, published_grid=True)
    assert set(sigmas.tolist()) <= set(published_training_sigmas(4.0).tolist())
    plain = sample_sigmas(20_000, 4.0, generator)
    for share in (0.1, 0.5, 0.9):
        assert abs(sigmas.quantile(share) - plain.quantile(share)) < 0.02


def test_noise_and_velocity_lie_on_one_straight_line():
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    sigma = torch.tensor([0.0, 0.25])
    noised = add_noise(latents, noise, sigma)
    assert torch.equal(noised[0], latents[0])
    velocity = velocity_target(latents, noise)
    torch.testing.assert_close(noised[1] - 0.25 * velocity[1], latents[1])
    torch.testing.assert_close(noised[1] + 0.75 * velocity[1], noise[1])


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_loss_is_the_paper_s_weighted_mean(weight):
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 8, 4, 6), torch.randn(2, 8, 4, 6)
    squares = (prediction - target) ** 2
    base, detail = squares[:, :3], squares[:, 3:]
    wanted = (base.sum((1, 2, 3)) + weight * detail.sum((1, 2, 3))) / ((3 + weight * 5) * 24)
    found = velocity_loss(prediction, target, LAYOUT, weight)
    torch.testing.assert_close(found.loss, wanted.mean())
    torch.testing.assert_close(found.base, base.mean())
    torch.testing.assert_close(found.detail, detail.mean())


def test_the_published_weights_make_it_the_published_loss():
    torch.manual_seed(0)
    latents, noise = torch.randn(4, 8, 4, 4), torch.randn(4, 8, 4, 4)
    sigma = torch.tensor([0.05, 0.2, 0.6, 0.95])
    prediction = torch.randn(4, 8, 4, 4)
    level = sigma[:, None, None, None]
    rebuilt = add_noise(latents, noise, sigma) - level * prediction
    factor = torch.minimum((1 - sigma) / sigma, torch.tensor(5.0))
    wanted = (((rebuilt - latents) ** 2).mean((1, 2, 3)) * factor).mean()
    weights = published_sample_weights(sigma)
    found = velocity_loss(prediction, velocity_target(latents, noise), LAYOUT, 1.0, weights)
    torch.testing.assert_close(found.loss, wanted)


def test_detail_of_weight_0_gets_no_gradient():
    prediction = torch.zeros(1, 8, 2, 2, requires_grad=True)
    velocity_loss(prediction, torch.ones(1, 8, 2, 2), LAYOUT, 0.0).loss.backward()
    assert torch.count_nonzero(prediction.grad[:, 3:]) == 0
    assert torch.count_nonzero(prediction.grad[:, :3]) == 12


def test_halves_are_compared_in_float32():
    prediction = torch.full((1, 8, 2, 2), 300.0, dtype=torch.float16)
    assert velocity_loss(prediction, torch.zeros_like(prediction), LAYOUT, 1.0).loss == 90_000


@pytest.mark.parametrize("steps", [1, 5])
def test_euler_along_the_true_velocity_arrives_at_the_latent(steps):
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    seen, told = [], []

    def velocity(x, sigma):
        seen.append(sigma.tolist())
        return velocity_target(latents, noise)

    sigmas = shifted_sigmas(steps, 4.0)
    found = sample_euler(velocity, noise, sigmas, progress=lambda *step: told.append(step))
    torch.testing.assert_close(found, latents)
    assert seen == [[float(sigma)] * 2 for sigma in sigmas[:-1]]
    assert told == [(step + 1, steps) for step in range(steps)]


def test_guidance_goes_beyond_the_conditional_velocity():
    noise = torch.zeros(1, 8, 2, 2)
    found = sample_euler(
        lambda x, sigma: torch.full_like(x, 2.0),
        noise,
        torch.tensor([1.0, 0.0]),
        guidance=2.5,
        unconditional=lambda x, sigma: torch.full_like(x, 1.0),
    )
    assert torch.equal(found, torch.full_like(noise, -(1 + 2.5)))
    with pytest.raises(ValueError, match="unconditional"):
        sample_euler(lambda x, sigma: x, noise, torch.tensor([1.0, 0.0]), guidance=2.5)


def test_detail_weight_rises_along_half_a_cosine():
    assert detail_weight(0, 100) == 0
    assert detail_weight(50, 100) == pytest.approx(0.5)
    assert detail_weight(25, 100) == pytest.approx(0.5 - 0.5 * 2**-0.5)
    assert detail_weight(100, 100) == detail_weight(10_000, 100) == 1
    assert detail_weight(100, 100, end=0.5) == 0.5
    with pytest.raises(ValueError, match="at least one step"):
        detail_weight(0, 0)


def test_noise_apart_is_that_of_each_parts_own_level_and_a_base_at_0_stays_as_it_is():
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    sigma, none = torch.tensor([0.3, 0.9]), torch.zeros(2)
    assert torch.equal(
        add_noise_apart(latents, noise, sigma, sigma, LAYOUT), add_noise(latents, noise, sigma)
    )
    base, detail = split(add_noise_apart(latents, noise, none, sigma, LAYOUT), LAYOUT)
    assert torch.equal(base, latents[:, :3])
    assert torch.equal(detail, add_noise(latents, noise, sigma)[:, 3:])


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
def test_the_loss_of_a_detail_pass_is_the_details_error_alone(weights):
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 8, 4, 6, requires_grad=True), torch.randn(2, 8, 4, 6)
    found = detail_loss(prediction, target, LAYOUT, weights)
    squares = (prediction - target).square()[:, 3:].mean((1, 2, 3))
    torch.testing.assert_close(found, (squares * (1 if weights is None else weights)).mean())
    assert torch.equal(found, velocity_loss(prediction, target, LAYOUT, 0.3, weights).detail)
    found.backward()
    assert not prediction.grad[:, :3].any() and prediction.grad[:, 3:].all()


def true_velocity(latents, noise, seen):
    """The velocity of a path's detail, and of its base what no detail pass may follow."""

    def velocity(x, sigma):
        seen.append((x, sigma))
        return torch.cat([torch.full_like(x[:, :3], 9.0), (noise - latents)[:, 3:]], dim=1)

    return velocity


@pytest.mark.parametrize("steps", [1, 5])
def test_a_detail_pass_keeps_the_base_bit_for_bit_and_arrives_at_the_detail(steps):
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    base, seen, told = latents[:, :3], [], []
    sigmas = shifted_sigmas(steps, 4.0)
    found = sample_detail(
        true_velocity(latents, noise, seen), base, noise[:, 3:], sigmas, LAYOUT,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert torch.equal(found[:, :3], base)
    torch.testing.assert_close(found, latents)
    assert all(torch.equal(x[:, :3], base) for x, _ in seen)
    assert [sigma.tolist() for _, sigma in seen] == [[float(sigma)] * 2 for sigma in sigmas[:-1]]
    assert told == [(step + 1, steps) for step in range(steps)]


def test_a_detail_pass_may_start_from_an_existing_detail_at_a_lower_level():
    torch.manual_seed(0)
    latents, noise, seen = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4), []
    sigmas = shifted_sigmas(6, 4.0)[3:]
    start = add_noise(latents[:, 3:], noise[:, 3:], sigmas[:1])
    found = sample_detail(
        true_velocity(latents, noise, seen), latents[:, :3], start, sigmas, LAYOUT
    )
    torch.testing.assert_close(found, latents)
    assert len(seen) == 3 and torch.equal(seen[0][0][:, 3:], start)


def test_guidance_of_a_detail_pass_leaves_the_base_alone():
    base, noise = torch.ones(1, 3, 2, 2), torch.zeros(1, 5, 2, 2)
    found = sample_detail(
        lambda x, sigma: torch.full_like(x, 2.0),
        base,
        noise,
        torch.tensor([1.0, 0.0]),
        LAYOUT,
        guidance=2.5,
        unconditional=lambda x, sigma: torch.full_like(x, 1.0),
    )
    assert torch.equal(found, torch.cat([base, torch.full_like(noise, -(1 + 2.5))], dim=1))


def test_a_base_and_a_detail_of_other_channels_are_refused():
    noise = torch.zeros(1, 5, 2, 2)
    with pytest.raises(ValueError, match="their channels must be 3 and 5"):
        sample_detail(
            lambda x, _: x, torch.zeros(1, 4, 2, 2), noise, torch.tensor([1.0, 0]), LAYOUT
        )


def test_even_levels_at_10_thirds_are_lightningdits_times_at_0_3():
    """Its t' = 0.3 t / (1 - 0.7 t) over 250 points of time from 0 to 1, where t is 1 - sigma."""
    time = torch.linspace(0, 1, 250, dtype=torch.float64)
    published = 0.3 * time / (1 - 0.7 * time)
    assert torch.allclose(even_sigmas(249, 10 / 3), (1 - published).float(), atol=1e-6)
    with pytest.raises(ValueError, match="at least one step"):
        even_sigmas(0, 1.0)


def test_guidance_begins_below_its_level():
    noise, asked = torch.randn(1, 4, 2, 2), []

    def unconditional(latents, sigma):
        asked.append(float(sigma[0]))
        return torch.zeros_like(latents)

    found = sample_euler(
        lambda latents, sigma: torch.ones_like(latents),
        noise,
        torch.tensor([1.0, 0.9, 0.75, 0.4, 0.0]),
        3.0,
        unconditional,
        guided_below=0.8,
    )
    assert asked == pytest.approx([0.75, 0.4])
    assert torch.allclose(found, noise - 0.25 - 3 * 0.75, atol=1e-6)


def test_the_published_masked_loss_is_the_paper_s():
    """The published ImageNet code masks the detail by w and multiplies by channels over the mask's sum."""
    torch.manual_seed(0)
    layout = LatentLayout(4, 12, 8, 2, 0.0, 1.0)
    prediction, target = torch.randn(3, 16, 2, 2), torch.randn(3, 16, 2, 2)
    mask = torch.cat([torch.ones(4), torch.full((12,), 0.3)])[:, None, None]
    published = ((prediction - target).square() * mask).mean() * 16 / mask.sum()
    assert torch.allclose(velocity_loss(prediction, target, layout, 0.3).loss, published)


def test_the_cosine_term_sees_directions_alone():
    target = torch.randn(2, 8, 3, 3)
    assert cosine_loss(5 * target, target) == pytest.approx(0, abs=1e-6)
    assert cosine_loss(-target, target) == pytest.approx(2, abs=1e-6)
