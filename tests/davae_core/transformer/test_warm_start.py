import pytest
import torch
import torch.nn.functional as F

from davae_core.transformer.warm_start import (
    join_head_rows,
    widen_conv_weight,
    widen_head_rows,
)


def test_a_widened_embedder_gives_the_same_whatever_the_detail():
    torch.manual_seed(0)
    weight, latents = torch.randn(8, 4, 2, 2), torch.randn(1, 7, 4, 6)
    wide = widen_conv_weight(weight, 4, 3)
    assert wide.shape == (8, 7, 2, 2)
    torch.testing.assert_close(
        F.conv2d(latents, wide, stride=2), F.conv2d(latents[:, :4], weight, stride=2)
    )


def test_head_rows_keep_each_positions_channels_together():
    torch.manual_seed(0)
    weight, bias, tokens = torch.randn(4 * 2, 6), torch.randn(4 * 2), torch.randn(5, 6)
    wide = F.linear(tokens, widen_head_rows(weight, 2, 3), widen_head_rows(bias, 2, 3))
    positions = wide.unflatten(1, (4, 5))
    torch.testing.assert_close(
        positions[:, :, :2], F.linear(tokens, weight, bias).unflatten(1, (4, 2))
    )
    assert torch.count_nonzero(positions[:, :, 2:]) == 0


def test_joined_heads_hold_base_then_detail_at_each_position():
    joined = join_head_rows(torch.tensor([1, 2, 3, 4]), torch.tensor([10, 20]), positions=2)
    assert joined.tolist() == [1, 2, 10, 3, 4, 20]


@pytest.mark.parametrize("positions", [0, 3])
def test_heads_of_another_number_of_positions_are_not_joined(positions):
    with pytest.raises(ValueError, match=f"4 and 6 rows do not share {positions} patch positions"):
        join_head_rows(torch.zeros(4), torch.zeros(6), positions)


@pytest.mark.parametrize("shape", [(8, 32, 2, 2), (8, 30)])
def test_embedders_that_do_not_read_the_base_are_refused(shape):
    with pytest.raises(ValueError, match="does not read 16 base channels"):
        widen_conv_weight(torch.zeros(shape), 16, 16)


def test_heads_of_another_width_are_refused():
    with pytest.raises(ValueError, match="widened already"):
        widen_head_rows(torch.zeros(30, 4), 16, 16)
