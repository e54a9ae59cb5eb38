import pytest
import torch
import torch.nn.functional as F
from torch import nn

from davae_core.codec.blocks import Upsample
from davae_core.codec.subpixel import upsample_conv


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 3)])
def test_four_small_convolutions_are_the_doubled_picture_convolved(size, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 3, padding=1, bias=bias)
    x = torch.randn(2, 6, *size)
    with torch.no_grad():
        wanted = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        torch.testing.assert_close(upsample_conv(x, conv), wanted, atol=1e-5, rtol=0)


def test_in_half_precision_the_sums_are_rounded_as_the_kernel_was():
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 16, 3, padding=1).bfloat16()
    x = torch.randn(1, 32, 8, 8).bfloat16()
    with torch.no_grad():
        exact = F.conv2d(
            F.interpolate(x.double(), scale_factor=2.0, mode="nearest"),
            conv.weight.double(),
            conv.bias.double(),
            padding=1,
        )
        plain = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        ours = (upsample_conv(x, conv).double() - exact).abs().mean()
    assert ours < 2 * (plain.double() - exact).abs().mean()


def test_training_sees_the_plain_form_with_its_gradients():
    torch.manual_seed(0)
    layer = Upsample(4, nn)
    x = torch.randn(1, 4, 3, 3, requires_grad=True)
    made = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), made.detach(), atol=1e-5, rtol=0)
    made.sum().backward()
    assert layer.conv.weight.grad is not None and x.grad is not None
