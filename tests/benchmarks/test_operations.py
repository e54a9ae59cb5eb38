"""Operations are counted as PyTorch counts them, and nothing is kept alive for it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.live_bytes import LiveBytes
from benchmarks.operations import Operations


class Chain(nn.Module):
    """Layers whose results are let go as soon as the next one has read them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu_()
        return x


def test_the_total_is_that_of_pytorch_forward_and_backward():
    linear, chain = nn.Linear(16, 8), Chain()
    words, picture = torch.randn(2, 5, 16), torch.randn(2, 4, 9, 7)

    def step():
        (linear(words).square().mean() + chain(picture).square().mean()).backward()

    with FlopCounterMode(display=False) as known:
        step()
    with Operations() as found:
        step()
    assert found.total == known.get_total_flops() > 0


def test_attention_in_one_kernel_counts_as_its_two_products():
    q, k, v = (torch.randn(1, 2, length, 16, requires_grad=True) for length in (6, 9, 9))
    with Operations() as found:
        made = F.scaled_dot_product_attention(q, k, v)
    forward = found.total
    with found:
        made.sum().backward()
    assert forward == 2 * (2 * 2 * 6 * 9 * 16)
    # One product of the way there again, and four of gradients.
    assert found.total - forward == 2.5 * forward


def test_what_is_alive_is_the_same_while_operations_are_counted():
    chain, picture = Chain(), torch.randn(1, 4, 32, 32)
    peaks = []
    with torch.no_grad():
        with LiveBytes() as alone:
            chain(picture)
        peaks.append(alone.peak)
        with LiveBytes() as beside, Operations():
            chain(picture)
        peaks.append(beside.peak)
    assert peaks == [2 * picture.nbytes] * 2
