"""The text transformer beside that of transformers, and the context made of it."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from davae_core.mini.clip_tokenizer import END, START, ClipTokenizer
from davae_core.mini.text_encoder import ClipTextModel, TextConfig, TextEncoder

SMALL = TextConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)


def random_model(config=SMALL):
    torch.manual_seed(0)
    model = ClipTextModel(config)
    model.initialise()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@torch.no_grad()
def test_states_are_those_of_transformers_on_the_same_weights():
    ours = random_model()
    theirs = CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=32,
            projection_dim=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            eos_token_id=END,
            bos_token_id=START,
        )
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.tensor([[START, 320, 2368, END, END, END], [START, 7, 8, 9, 10, END]])
    states, expected = ours(tokens), theirs(tokens, output_hidden_states=True)
    assert torch.allclose(states.penultimate, expected.hidden_states[-2], atol=1e-5)
    assert torch.allclose(states.projected, expected.text_embeds, atol=1e-5)
    assert torch.allclose(states.pooled, expected.last_hidden_state[[0, 1], [3, 5]], atol=1e-5)


def test_context_and_pooled_have_sd3_s_widths_and_zeros_where_the_other_encoders_would_be():
    encoder = TextEncoder(random_model(), ClipTokenizer())
    context, pooled = encoder.encode(["a red circle", "", "a blue square"])
    assert context.shape == (3, 77, 4096) and pooled.shape == (3, 16 + 1280)
    assert encoder.pooled_width == 16 + 1280
    assert not context[..., 16:].any() and not pooled[:, 16:].any()
    assert (context[0] - context[2]).abs().max() > 0.01
    assert not context.requires_grad


def test_a_prompt_is_encoded_the_same_alone_and_among_others():
    encoder = TextEncoder(random_model(), ClipTokenizer())
    alone, together = encoder.encode(["a cat"]), encoder.encode(["dogs", "a cat"])
    assert torch.allclose(alone[0][0], together[0][1], atol=1e-5)
    assert torch.allclose(alone[1][0], together[1][1], atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "heads", "reason"), [(1, 2, "needs 2 layers"), (2, 3, "width of 16")]
)
def test_impossible_sizes_are_refused(layers, heads, reason):
    with pytest.raises(ValueError, match=reason):
        TextConfig(16, layers, heads, 32)
