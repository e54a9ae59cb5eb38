"""What a step sees is drawn where its batch is read, and is what the training process drew itself before."""

import pytest
import torch

from training.cache.text_states import TextStates
from training.dit.batches import LatentBatch, LatentBatches, read_in_order
from training.dit.config import FlowLossConfig
from training.dit.inputs import open_caches
from training.dit.noising import NoisedBatches
from training.errors import TrainingError

SHARED = FlowLossConfig()
OWN = FlowLossConfig(base_levels="own", levels="published")
NOISY = FlowLossConfig(base_noise=0.05)


class OneBatch:
    """Any batch: samples of these numbers, or none at all."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __getitem__(self, wanted):
        if not self.numbers:
            return TrainingError("Nothing can be read here.")
        text = TextStates(torch.zeros(1), None, torch.zeros(1))
        return LatentBatch(self.numbers, torch.zeros(len(self.numbers), 32, 4, 6), text)


@pytest.mark.parametrize(
    ("mode", "loss", "levels", "base_levels"),
    [
        ("joint", SHARED, [0.797284, 0.501799, 0.767194], [0.797284, 0.501799, 0.767194]),
        ("joint", OWN, [0.803805, 0.940969, 0.830132], [0.868476, 0.781495, 0.71908]),
        ("detail", NOISY, [0.797284, 0.501799, 0.767194], [0.03538, 0.006484, 0.019908]),
    ],
)
def test_noise_and_levels_are_those_that_were_recorded(mode, loss, levels, base_levels):
    """Of samples 40, 41 and a billion at seed 7, before noise was drawn in the loader's workers."""
    found = NoisedBatches(OneBatch((40, 41, 10**9)), 7, mode, loss)[0, slice(None)]
    assert found.sigma.tolist() == pytest.approx(levels, abs=2e-6)
    assert found.base_sigma.tolist() == pytest.approx(base_levels, abs=2e-6)
    corner = [0.967427, -0.351644, 0.83826]
    assert found.noise[:, 31, 3, 5].tolist() == pytest.approx(corner, abs=2e-6)
    assert float(found.noise.double().sum()) == pytest.approx(31.710226, abs=1e-3)


def test_what_cannot_be_read_is_handed_over():
    assert "Nothing can be read" in str(
        NoisedBatches(OneBatch(()), 7, "joint", SHARED)[0, slice(None)]
    )


@pytest.mark.slow
def test_workers_draw_what_this_process_draws(davae_cache):
    data = LatentBatches(open_caches([str(davae_cache)], in_memory=False), 2, 7, 0.5)
    noised, wanted = NoisedBatches(data, 7, "joint", OWN), [(n, slice(0, 2)) for n in range(4)]
    here = list(read_in_order(noised, iter(wanted), workers=0))
    there = list(read_in_order(noised, iter(wanted), workers=2))
    assert len(here) == len(there) == 4
    for ours, theirs in zip(here, there, strict=True):
        assert ours.clean.numbers == theirs.clean.numbers
        assert torch.equal(ours.clean.latents, theirs.clean.latents)
        for name in ("noise", "sigma", "base_sigma"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
