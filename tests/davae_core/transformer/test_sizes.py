"""Sizes and names of an SD3 transformer, from weights alone, there and back."""

import pytest
import torch
from diffusers import SD3Transformer2DModel

from davae_core.transformer.names import diffusers_to_stability, stability_to_diffusers
from davae_core.transformer.sizes import TransformerSizes, transformer_sizes

SIZES = TransformerSizes(
    in_channels=4,
    out_channels=4,
    patch=2,
    blocks=2,
    heads=1,
    dual_blocks=(0,),
    context_width=24,
    pooled_width=20,
    positions=6,
    normed=True,
)


@pytest.fixture
def weights():
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=1,
        joint_attention_dim=24,
        caption_projection_dim=64,
        pooled_projection_dim=20,
        pos_embed_max_size=6,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return model.state_dict()


def test_sizes_are_read_off_the_weights(weights):
    assert transformer_sizes(diffusers_to_stability(weights)) == SIZES
    assert SIZES.width == 64


def test_renaming_there_and_back_gives_every_tensor_again(weights):
    back = stability_to_diffusers(diffusers_to_stability(weights), weights)
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_missing_weights_are_named(weights):
    stability = diffusers_to_stability(weights)
    del stability["context_embedder.weight"]
    with pytest.raises(ValueError, match=r"context_embedder\.weight"):
        transformer_sizes(stability)
    with pytest.raises(ValueError, match=r"context_embedder\.weight"):
        stability_to_diffusers(stability, weights)
