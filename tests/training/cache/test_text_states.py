"""T5 states in 8 bits: how far they are from what they were, and that they pass through a cache."""

import pytest
import torch

from training.cache.config import TextConfig
from training.cache.text_states import TextStates, stack
from training.errors import TrainingError


def states(batch: int = 2, tokens: int = 5) -> TextStates:
    random = torch.Generator().manual_seed(0)
    t5 = torch.randn(batch, tokens, 64, generator=random)
    # As T5's, which are of very different size from token to token, with a few large channels.
    t5 *= torch.logspace(-3, 2, tokens)[:, None]
    t5[..., 7] *= 20
    return TextStates(
        torch.randn(batch, 4, 8, generator=random), t5, torch.randn(batch, 6, generator=random)
    )


def test_a_state_in_8_bits_is_within_half_a_step_of_its_tokens_largest() -> None:
    held = states()
    stored = held.stored_as("int8")
    assert stored.t5.dtype == torch.int8 and stored.t5_scale.shape == (2, 5, 1)
    back = stored.to("cpu")
    assert back.t5.dtype == torch.float32 and back.t5_scale is None
    step = held.t5.abs().amax(dim=-1, keepdim=True) / 127
    assert ((back.t5 - held.t5).abs() <= step / 2 * (1 + 1e-5)).all()
    assert (back.t5 != held.t5).any()
    halves = held.stored_as("fp16")
    assert torch.equal(halves.to("cpu").clip, back.clip) and halves.t5.dtype == torch.float16


def test_a_token_of_zeros_stays_one_and_what_is_not_finite_is_found() -> None:
    held = states()
    held.t5[0, 0] = 0
    assert not held.stored_as("int8").to("cpu").t5[0, 0].any()
    assert held.stored_as("int8").finite()
    held.t5[1, 2, 3] = torch.inf
    assert not held.stored_as("int8").finite()


def test_stacking_and_cutting_keep_the_scales() -> None:
    stored = states(3).stored_as("int8")
    again = stack([stored.row(2), stored.rows(0, 2)])
    assert torch.equal(again.t5, stored.t5[[2, 0, 1]])
    assert torch.equal(again.t5_scale, stored.t5_scale[[2, 0, 1]])
    assert set(stored.tensors("0")) == {"clip.0", "pooled.0", "t5.0", "t5_scale.0"}
    assert set(states().tensors("0")) == {"clip.0", "pooled.0", "t5.0"}


def test_storage_of_t5_states_that_nobody_stores_is_refused() -> None:
    for nothing in ({"states": "live"}, {"t5_tokens": 0}):
        with pytest.raises(TrainingError, match=r"text\.t5_storage is int8, but no caption's"):
            TextConfig(t5_storage="int8", **nothing)
