"""The miniature text encoder in ComfyUI's own CLIP gives what davae_core gives (tests/comfyui/inside_text.py)."""

import json

import pytest
import torch
from safetensors.torch import save_file

from davae_core import mini
from davae_core.mini.text_encoder_files import load_text_encoder
from tests.comfyui.process import answers_of_process

PROMPTS = [
    "a red circle above a blue square on a wooden background",
    "",
    "  It's 2026,\n and I'd've   DON'T... ½ ② e\u0301 naïve ΣΊΣΥΦΟΣ 東京タワー 🎉 a_b-c <html>",
    "aaaa mississippi hahahahaha xzqvkj antidisestablishmentarianism",
    "star " * 75,
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one ComfyUI process found."""
    folder = tmp_path_factory.mktemp("text")
    encoder = load_text_encoder(mini.clip_path())
    context, pooled = encoder.encode(PROMPTS)
    tokens = torch.tensor([encoder.tokenizer(prompt) for prompt in PROMPTS])
    save_file(
        {"tokens": tokens, "context": context, "pooled": pooled},
        folder / "expected.safetensors",
        {"prompts": json.dumps(PROMPTS)},
    )
    expected, answers = folder / "expected.safetensors", folder / "answers.json"
    return answers_of_process("inside_text.py", mini.clip_path(), expected, answers=answers)


def test_tokens_are_comfyui_s(answers):
    assert [found["prompt"] for found in answers["prompts"] if not found["tokens"]] == []


def test_context_and_pooled_vector_are_comfyui_s_to_1e_5(answers):
    for found in answers["prompts"]:
        assert found["shapes"] == [[1, 77, 4096], [1, 1344]]
        assert found["size"] > 0.1
        assert max(found["context"], found["pooled"]) < 1e-5, found


def test_comfyui_can_copy_the_text_encoder_from_its_file(answers):
    assert answers["copied"] == {"other_object": True, "equal": True}


def test_it_is_four_million_parameters_and_not_five_gigabytes(answers):
    assert answers["parameters"] < 4e6
