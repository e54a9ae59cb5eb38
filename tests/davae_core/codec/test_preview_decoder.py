import pytest
import torch
import torch.nn.functional as F

from davae_core.codec.preview_decoder import FIRST, pad_preview_decoder
from davae_core.files import CheckpointError
from davae_core.presets import SD3


def test_the_padded_first_layer_gives_what_the_plain_one_gives_whatever_the_detail():
    torch.manual_seed(0)
    plain = {
        FIRST: torch.randn(64, 16, 3, 3),
        "1.bias": torch.randn(64),
        "3.weight": torch.randn(2, 2),
    }
    padded = pad_preview_decoder("taesd3", plain, SD3.layout)
    latents = torch.randn(1, 32, 5, 5)
    found = F.conv2d(latents, padded[FIRST], padded["1.bias"], padding=1)
    wanted = F.conv2d(latents[:, :16], plain[FIRST], plain["1.bias"], padding=1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert padded["3.weight"] is plain["3.weight"]


@pytest.mark.parametrize(
    "tensors", [{}, {FIRST: torch.zeros(64, 4, 3, 3)}, {FIRST: torch.zeros(64)}]
)
def test_other_decoders_are_refused_by_name(tensors):
    with pytest.raises(CheckpointError, match=r"other\.safetensors is not a preview decoder of 16"):
        pad_preview_decoder("other.safetensors", tensors, SD3.layout)
