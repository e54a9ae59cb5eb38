"""Transformers under Stability's names as diffusers runs them."""

from collections.abc import Mapping

from torch import Tensor, nn

from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.sizes import transformer_sizes


def in_diffusers(tensors: Mapping[str, Tensor]) -> nn.Module:
    """diffusers' own model with these weights."""
    model = diffusers_transformer(transformer_sizes(tensors))
    model.load_state_dict(stability_to_diffusers(tensors, model.state_dict()))
    return model.eval()
