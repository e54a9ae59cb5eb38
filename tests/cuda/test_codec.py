"""The codec's way of computing without gradients, on a GPU: the same pictures, in less memory."""

import pytest
import torch

from davae_core import mini
from davae_core.codec import stripes
from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.files import load_codec
from davae_core.images import read_image
from davae_core.presets import SD3

TOLERANCES = {torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of values near 1; float32 may be rounded to TF32's 10 bits."""


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_stripes_make_the_picture_and_the_latent_that_the_whole_makes(gpu, dtype, monkeypatch):
    monkeypatch.setattr(stripes, "STRIPE_BYTES", 1)
    codec = load_codec(mini.davae_path()).to(gpu, dtype)
    picture = read_image(mini.small_scene_path()).to(gpu, dtype)
    made = {}
    for striped in (False, True):
        with torch.set_grad_enabled(not striped):
            latents = codec.encode(picture)
            made[striped] = latents.detach(), codec.decode(latents).detach()
    for whole, part in zip(made[False], made[True], strict=True):
        torch.testing.assert_close(part, whole, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_without_gradients_a_gpu_holds_less(gpu, way):
    torch.manual_seed(0)
    with gpu:
        codec = DetailAlignedVAE(SD3).bfloat16().eval().requires_grad_(False)
        picture = torch.rand(1, 3, 1024, 1024, dtype=torch.bfloat16)
        latents = torch.randn(1, SD3.layout.channels, 64, 64, dtype=torch.bfloat16)
    run = {"encode": lambda: codec.encode(picture), "decode": lambda: codec.decode(latents)}[way]
    peaks = []
    for gradients in (False, True):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.set_grad_enabled(gradients):
            run()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] < 0.8 * peaks[1]
