"""Text to image on a GPU."""

import pytest
import torch

from davae_core.pipeline import load_pipeline
from tests.training.dit_fixtures import CONTEXT, POOLED, WORDS


def told(prompts):
    """States of a text encoder that knows prompts by their lengths."""
    lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
    context = lengths.view(-1, 1, 1).expand(-1, WORDS, CONTEXT) / 10
    return context, lengths.view(-1, 1).expand(-1, POOLED) / 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_seed_draws_the_picture_on_a_gpu_that_it_draws_on_a_cpu(base_transformer, davae, dtype):
    def drawn(device):
        pipeline = load_pipeline(
            base_transformer, davae, encode_text=told, device=device, dtype=dtype
        )
        return pipeline.draw_latents(["a circle"], 16, 16, seed=3, steps=4, guidance=2.5).cpu()

    near = 1e-2 if dtype == torch.float32 else 1e-1
    torch.testing.assert_close(drawn("cuda").float(), drawn("cpu").float(), atol=near, rtol=near)
