"""CLIP's text transformer from transformers, and the context made of what it gives."""

import sys

import pytest
import torch

from davae_core import mini
from davae_core.mini.clip_tokenizer import ClipTokenizer
from davae_core.mini.text_encoder import TextConfig, TextEncoder, clip_text_model, initialise
from davae_core.mini.text_encoder_files import load_text_encoder

SMALL = TextConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)


def random_encoder():
    torch.manual_seed(0)
    model = clip_text_model(SMALL)
    initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return TextEncoder(model, ClipTokenizer())


def test_the_bundled_file_gives_what_it_was_trained_to_give():
    """What the file gave on the machine that it was trained on."""
    prompts = ["a red circle on the left", "star " * 75]
    context, pooled = load_text_encoder(mini.clip_path()).encode(prompts)
    for place, expected in (
        ((0, 0), [2.6345181, 0.6887733, 4.6392455]),
        ((0, 6), [-0.9238903, 1.5667752, -2.1689882]),
        ((0, 76), [0.5046275, -0.2559804, 1.0601002]),
        ((1, 6), [0.4381716, -3.8630443, 2.4672976]),
        ((1, 76), [0.2282997, -3.7485178, 2.3474011]),
    ):
        torch.testing.assert_close(context[place][:3], torch.tensor(expected), atol=1e-4, rtol=0)
    expected = [[0.0833152, -0.9776998, 1.3663458], [-0.0592822, -0.9807102, 1.0219380]]
    torch.testing.assert_close(pooled[:, :3], torch.tensor(expected), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_first_end_is_pooled_and_projected():
    encoder, prompts = random_encoder(), ["a red circle", "", "star " * 75]
    tokens = torch.tensor([encoder.tokenizer(prompt) for prompt in prompts])
    states = encoder.model(tokens)
    pooled = states.last_hidden_state[[0, 1, 2], [4, 1, 76]]
    torch.testing.assert_close(encoder.encode(prompts)[1][:, :16], pooled)
    torch.testing.assert_close(states.text_embeds, encoder.model.text_projection(pooled))


def test_context_and_pooled_have_sd3_s_widths_and_zeros_where_the_other_encoders_would_be():
    context, pooled = random_encoder().encode(["a red circle", "", "a blue square"])
    assert context.shape == (3, 77, 4096) and pooled.shape == (3, 16 + 1280)
    assert not context[..., 16:].any() and not pooled[:, 16:].any()
    assert (context[0] - context[2]).abs().max() > 0.01
    assert not context.requires_grad


def test_a_prompt_is_encoded_the_same_alone_and_among_others():
    encoder = random_encoder()
    alone, together = encoder.encode(["a cat"]), encoder.encode(["dogs", "a cat"])
    assert torch.allclose(alone[0][0], together[0][1], atol=1e-5)
    assert torch.allclose(alone[1][0], together[1][1], atol=1e-5)


def test_training_starts_from_clip_s_random_weights():
    torch.manual_seed(0)
    model = clip_text_model(TextConfig(64, 2, 2, 256))
    initialise(model)
    spread = {
        "text_model.embeddings.token_embedding.weight": 0.02,
        "text_model.embeddings.position_embedding.weight": 0.01,
        "text_model.encoder.layers.0.self_attn.q_proj.weight": 0.125,
        "text_model.encoder.layers.0.mlp.fc1.weight": 0.125,
        "text_model.encoder.layers.1.self_attn.out_proj.weight": 0.0625,
        "text_model.encoder.layers.1.mlp.fc2.weight": 0.0625,
        "text_projection.weight": 0.125,
    }
    parameters = dict(model.named_parameters())
    for name, expected in spread.items():
        assert parameters[name].std().item() == pytest.approx(expected, rel=0.05), name
    assert not any(value.any() for name, value in parameters.items() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("layers", "heads", "reason"), [(1, 2, "needs 2 layers"), (2, 3, "width of 16")]
)
def test_impossible_sizes_are_refused(layers, heads, reason):
    with pytest.raises(ValueError, match=reason):
        TextConfig(16, layers, heads, 32)


def test_without_transformers_the_extra_that_brings_it_is_named(monkeypatch):
    # None in sys.modules is how Python marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'needs transformers: pip install "\.\[demo\]"\.'):
        load_text_encoder(mini.clip_path())
