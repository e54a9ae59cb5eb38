import pytest
import torch

from davae_core.codec.alignment import alignment_loss, project


def test_projection_averages_consecutive_channels():
    detail = torch.randn(2, 12, 3, 3)
    projected = project(detail, 4)
    for group in range(4):
        torch.testing.assert_close(
            projected[:, group], detail[:, 3 * group : 3 * group + 3].mean(dim=1)
        )


def test_projection_is_the_identity_where_detail_equals_base():
    detail = torch.randn(1, 16, 2, 2)
    assert torch.equal(project(detail, 16), detail)


def test_only_the_detail_is_pulled():
    detail = torch.randn(1, 8, 2, 2, requires_grad=True)
    base = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = alignment_loss(detail, base)
    loss.backward()
    torch.testing.assert_close(loss, (detail.unflatten(1, (4, 2)).mean(2) - base).square().mean())
    assert base.grad is None
    assert detail.grad is not None and torch.count_nonzero(detail.grad) == detail.numel()


def test_aligned_detail_costs_nothing():
    base = torch.randn(1, 4, 2, 2)
    assert alignment_loss(base.repeat_interleave(2, 1), base) == 0


def test_uneven_groups_are_refused():
    with pytest.raises(ValueError, match="multiple of the base channels"):
        project(torch.randn(1, 10, 2, 2), 4)
