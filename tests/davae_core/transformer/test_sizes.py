"""Sizes and names of an SD3 transformer, from weights alone, there and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.names import diffusers_to_stability, stability_to_diffusers
from davae_core.transformer.sizes import TransformerSizes, transformer_sizes

SIZES = st.integers(1, 3).flatmap(
    lambda blocks: st.builds(
        TransformerSizes,
        in_channels=st.integers(1, 4),
        out_channels=st.integers(1, 4),
        patch=st.integers(1, 3),
        blocks=st.just(blocks),
        heads=st.just(1),
        dual_blocks=st.sets(st.integers(0, blocks - 1)).map(lambda found: tuple(sorted(found))),
        context_width=st.integers(1, 24),
        pooled_width=st.integers(1, 24),
        positions=st.integers(1, 6),
        normed=st.booleans(),
    )
)


@given(SIZES)
def test_sizes_and_every_tensor_come_back_from_stability_s_names(sizes):
    torch.manual_seed(0)
    weights = diffusers_transformer(sizes).state_dict()
    stability = diffusers_to_stability(weights)
    assert transformer_sizes(stability) == sizes
    back = stability_to_diffusers(stability, weights)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.fixture
def weights():
    sizes = TransformerSizes(
        in_channels=4, out_channels=4, patch=2, blocks=2, heads=1, dual_blocks=(0,), context_width=24,
        pooled_width=20, positions=6, normed=True,
    )  # fmt: skip
    return diffusers_transformer(sizes).state_dict()


def test_missing_weights_are_named(weights):
    stability = diffusers_to_stability(weights)
    del stability["context_embedder.weight"]
    with pytest.raises(ValueError, match=r"context_embedder\.weight"):
        transformer_sizes(stability)
    with pytest.raises(ValueError, match=r"context_embedder\.weight"):
        stability_to_diffusers(stability, weights)
