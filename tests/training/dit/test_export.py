"""What stage 2 exports is the model that was trained."""

from dataclasses import replace

import pytest
import torch

from davae_core.latents import LatentLayout
from davae_core.transformer.adapter import DOWN
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.merging import merge
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from tests.training.dit_fixtures import CHANNELS, CONTEXT, POOLED, WORDS
from tests.training.random_adapters import random_adapter

LAYOUT = LatentLayout(CHANNELS, CHANNELS, 2, 2, 0.25, 2.0)
SWAPPED = ("norm_out.linear", "transformer_blocks.1.norm1_context.linear")
"""Whose shift and scale diffusers and Stability keep in opposite orders (docs/method.md, "Adapters")."""


def velocity(model):
    torch.manual_seed(0)
    with torch.no_grad():
        return model(
            hidden_states=torch.randn(2, 2 * CHANNELS, 4, 6),
            encoder_hidden_states=torch.randn(2, WORDS, CONTEXT),
            pooled_projections=torch.randn(2, POOLED),
            timestep=torch.tensor([100.0, 900.0]),
            return_dict=False,
        )[0]


def merged_velocity(base, adapter):
    merged = merge(base, adapter)
    model = diffusers_transformer(transformer_sizes(merged)).eval()
    model.load_state_dict(stability_to_diffusers(merged, model.state_dict()))
    return velocity(model)


@pytest.mark.parametrize("targets", ["published", "wide"])
def test_a_merged_adapter_gives_the_trainers_velocity(base_transformer, targets):
    base = load_transformer(base_transformer)
    model, adapter = random_adapter(base, LAYOUT, targets)
    expected = velocity(model)
    torch.testing.assert_close(merged_velocity(base, adapter), expected, atol=1e-4, rtol=1e-4)
    wide = {layer for layer in SWAPPED if layer + DOWN in adapter.lora}
    assert wide == (set(SWAPPED) if targets == "wide" else set())
    for layer in wide:
        lora = {name: part for name, part in adapter.lora.items() if not name.startswith(layer)}
        without = merged_velocity(base, replace(adapter, lora=lora))
        assert (without - expected).std() > 0.05 * expected.std()
