"""What a step sees is drawn where its batch is read, and is what the training process drew itself before."""

import pytest
import torch

from tests.training.dit_fixtures import opened
from training.dit.batches import LatentBatches, read_in_order
from training.dit.config import FlowLossConfig
from training.dit.noising import NoisedBatches
from training.errors import TrainingError

SHARED = FlowLossConfig()
OWN = FlowLossConfig(base_levels="own", levels="published")
NOISY = FlowLossConfig(base_noise=0.05)


def batches(folder):
    return LatentBatches([opened(folder, in_memory=False)], 2, 7, 0.5)


@pytest.mark.parametrize(
    ("mode", "loss", "levels", "base_levels"),
    [
        ("joint", SHARED, [0.797284, 0.501799, 0.767194], [0.797284, 0.501799, 0.767194]),
        ("joint", OWN, [0.803805, 0.940969, 0.830132], [0.868476, 0.781495, 0.71908]),
        ("detail", NOISY, [0.797284, 0.501799, 0.767194], [0.03538, 0.006484, 0.019908]),
    ],
)
def test_noise_and_levels_are_those_that_were_recorded(
    davae_cache, mode, loss, levels, base_levels
):
    """Of samples 40, 41 and a billion at seed 7, before noise was drawn in the loader's workers."""
    noised = NoisedBatches(batches(davae_cache), 7, mode, loss)
    found = [noised[20, slice(None)], noised[5 * 10**8, slice(0, 1)]]
    assert [batch.clean.numbers for batch in found] == [(40, 41), (10**9,)]
    sigma, base_sigma = (torch.cat([batch[part] for batch in found]).tolist() for part in (2, 3))
    assert sigma == pytest.approx(levels, abs=2e-6)
    assert base_sigma == pytest.approx(base_levels, abs=2e-6)
    corners = [float(noise[0, 0, 0]) for batch in found for noise in batch.noise]
    assert corners == pytest.approx([-1.072434, -1.207867, -1.115983], abs=2e-6)


def test_a_batch_that_cannot_be_read_is_refused_in_its_own_words(davae_cache):
    noised = NoisedBatches(batches(davae_cache), 7, "joint", SHARED)
    for shard in davae_cache.glob("*.safetensors"):
        shard.write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"shard_.*\.safetensors"):
        list(read_in_order(noised, iter([(0, slice(0, 2))]), workers=0))


@pytest.mark.slow
def test_workers_draw_what_this_process_draws(davae_cache):
    noised = NoisedBatches(batches(davae_cache), 7, "joint", OWN)
    wanted = [(number, slice(0, 2)) for number in range(4)]
    here = list(read_in_order(noised, iter(wanted), workers=0))
    there = list(read_in_order(noised, iter(wanted), workers=2))
    assert len(here) == len(there) == 4
    for ours, theirs in zip(here, there, strict=True):
        assert ours.clean.numbers == theirs.clean.numbers
        assert torch.equal(ours.clean.latents, theirs.clean.latents)
        for name in ("noise", "sigma", "base_sigma"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
