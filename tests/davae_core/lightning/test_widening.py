"""The widened LightningDiT draws at first what the pretrained one draws, and nothing for the detail."""

from dataclasses import replace

import pytest
import torch

from davae_core.latents import LatentLayout
from davae_core.lightning.files import build_lightning
from davae_core.lightning.widening import add_norms, widen_lightning
from tests.davae_core.lightning.tiny import TINY, random_weights

LAYOUT = LatentLayout(6, 18, 2, 2, 0.0, 1.0)
WIDE = LAYOUT.channels


@pytest.mark.parametrize("patch", [1, 2])
def test_the_warm_start_is_exact(patch):
    sizes = replace(TINY, patch=patch)
    weights = random_weights(sizes)
    plain = build_lightning(sizes, weights)
    wide = build_lightning(replace(sizes, channels=WIDE), widen_lightning(weights, LAYOUT))
    latents = torch.randn(3, WIDE, 4 * patch, 4 * patch)
    time, labels = torch.rand(3), torch.tensor([0, 2, 3])
    with torch.no_grad():
        found = wide(latents, time, labels)
        wanted = plain(latents[:, :6], time, labels)
    assert wanted.abs().mean() > 0.1
    assert torch.allclose(found[:, :6], wanted, atol=1e-6, rtol=1e-6)
    assert not found[:, 6:].any()


def test_what_is_widened_already_is_refused():
    wide = widen_lightning(random_weights(TINY), LAYOUT)
    with pytest.raises(ValueError, match="widened already"):
        widen_lightning(wide, LAYOUT)


def test_norms_can_be_added_and_are_another_function():
    sizes = replace(TINY, normed=False)
    weights = random_weights(sizes)
    normed, found = add_norms(weights, sizes)
    latents, time, label = torch.randn(1, 6, 4, 4), torch.tensor([0.4]), torch.tensor([0])
    assert found.normed
    before = build_lightning(sizes, weights)(latents, time, label)
    after = build_lightning(found, normed)(latents, time, label)
    assert before.shape == after.shape and not torch.allclose(before, after, atol=1e-3)
