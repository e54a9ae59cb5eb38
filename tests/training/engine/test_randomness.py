import torch

from training.engine.randomness import Stream, keep_mask, numpy_generator, sample_noise


def test_noise_belongs_to_the_sample_and_not_to_its_place_in_the_batch() -> None:
    together = sample_noise(3, [10, 11, 12], (2, 4, 4))
    assert torch.equal(sample_noise(3, [12, 10], (2, 4, 4)), together[[2, 0]])


def test_noise_is_standard_normal_and_differs_by_seed_and_sample() -> None:
    noise = sample_noise(0, range(200), (4, 8, 8))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1.0) < 0.02
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(sample_noise(1, [0], (4, 8, 8))[0], noise[0])


def test_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    sample_noise(0, [1, 2], (4,))
    keep_mask(0, [1, 2], 0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_kept_samples_are_scaled_up_and_dropped_ones_zero() -> None:
    mask = keep_mask(0, range(4000), 0.25)
    assert mask.shape == (4000, 1, 1, 1)
    assert set(mask.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(float((mask == 0).float().mean()) - 0.25) < 0.03
    assert torch.equal(keep_mask(0, [7], 0.0), torch.ones(1, 1, 1, 1))


def test_streams_do_not_share_numbers() -> None:
    draws = [numpy_generator(0, stream, 5).random() for stream in Stream]
    assert len(set(draws)) == len(draws)
