"""LightningDiT against what its published code computed, its sizes against the published counts of parameters."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from davae_core.lightning.files import build_lightning
from davae_core.lightning.model import LightningDiT, start_from_nothing
from davae_core.lightning.sizes import lightning_sizes, published_sizes
from tests.davae_core.lightning.tiny import TINY, random_weights

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "lightning" / "expected.safetensors"


def golden(name):
    """Weights, and latents, times, labels and velocity of one of the published code's models."""
    found = load_file(GOLDEN)
    weights = {
        key.removeprefix(f"{name}/weights/"): tensor
        for key, tensor in found.items()
        if key.startswith(f"{name}/weights/")
    }
    return weights, [found[f"{name}/{part}"] for part in ("latents", "time", "labels", "velocity")]


@pytest.mark.parametrize("name", ["plain", "normed", "patched"])
def test_the_published_weights_give_the_published_velocity(name):
    weights, (latents, time, labels, wanted) = golden(name)
    model = build_lightning(lightning_sizes(weights, heads=2), weights)
    with torch.no_grad():
        assert torch.allclose(model(latents, time, labels), wanted, atol=2e-5, rtol=1e-5)


def test_the_tables_of_positions_and_angles_are_the_published_ones():
    weights, _ = golden("plain")
    fresh = LightningDiT(lightning_sizes(weights, heads=2)).state_dict()
    for name in ("pos_embed", "feat_rope.freqs_cos", "feat_rope.freqs_sin"):
        assert torch.allclose(fresh[name], weights[name], atol=1e-6), name


def test_the_names_are_the_published_ones():
    weights, _ = golden("normed")
    sizes = lightning_sizes(weights, heads=2)
    assert LightningDiT(sizes).state_dict().keys() == weights.keys()


@pytest.mark.parametrize(
    ("name", "plain", "widened"),
    [
        ("B", 130_556_192, 130_705_280),
        ("XL", 675_256_736, 675_482_048),
        ("1p0B", 1_029_401_120, 1_029_699_200),
        ("1p6B", 1_631_767_120, 1_632_114_864),
    ],
)
def test_the_published_sizes_have_the_published_codes_parameters(name, plain, widened):
    """As its own classes count them: 32 channels, and 128 with norms of queries and keys, 16 x 16 tokens."""
    with torch.device("meta"):
        models = [
            LightningDiT(published_sizes(name, 32, 16)),
            LightningDiT(published_sizes(name, 128, 16, normed=True)),
        ]
    counts = [sum(value.numel() for value in model.parameters()) for model in models]
    assert counts == [plain, widened]


def test_a_fresh_model_predicts_nothing_and_passes_tokens_on():
    torch.manual_seed(0)
    model = LightningDiT(TINY)
    start_from_nothing(model)
    latents, time = torch.randn(2, TINY.channels, 4, 4), torch.rand(2)
    assert not model(latents, time, torch.tensor([0, 1])).any()
    tokens = torch.randn(2, 16, TINY.width)
    assert torch.equal(model.blocks[0](tokens, torch.randn(2, TINY.width), model.feat_rope), tokens)


def test_class_time_and_place_change_what_is_predicted():
    model = build_lightning(TINY, random_weights(TINY))
    latents = torch.randn(1, TINY.channels, 4, 4)
    half, label = torch.tensor([0.5]), torch.tensor([1])
    first = model(latents, half, label)
    assert not torch.allclose(first, model(latents, half, torch.tensor([TINY.classes])), atol=1e-4)
    assert not torch.allclose(first, model(latents, torch.tensor([0.6]), label), atol=1e-4)
    mirrored = model(latents.flip(-1), half, label).flip(-1)
    assert not torch.allclose(first, mirrored, atol=1e-4)
