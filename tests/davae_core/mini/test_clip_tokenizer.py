"""Tokens of CLIP; tests/nodes/test_text_encoder_inside_comfyui.py compares them with ComfyUI's."""

import pytest

from davae_core.mini.clip_tokenizer import END, POSITIONS, START, ClipTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


def test_a_prompt_is_start_words_and_ends_up_to_77(tokenizer):
    # The numbers that CLIP's model card and every tokenizer of CLIP give.
    assert tokenizer("a photo of a cat") == [START, 320, 1125, 539, 320, 2368, *[END] * 71]


def test_an_empty_prompt_is_start_and_ends(tokenizer):
    assert tokenizer(" \n ") == [START, *[END] * (POSITIONS - 1)]


def test_case_and_spaces_do_not_matter(tokenizer):
    assert tokenizer("  A  Photo\tof a\nCAT") == tokenizer("a photo of a cat")


def test_composed_and_decomposed_letters_are_the_same(tokenizer):
    assert tokenizer("cafe\u0301") == tokenizer("caf\u00e9")


def test_digits_are_single_tokens(tokenizer):
    assert len(tokenizer.words("2026")) == 4


def test_no_word_is_unknown(tokenizer):
    assert all(0 <= token < START for token in tokenizer.words("東京 🎉 zxqvkj ½ don't"))


def test_the_longest_prompt_has_75_tokens_and_a_longer_one_is_refused(tokenizer):
    assert tokenizer("cat " * 75)[-1] == END
    with pytest.raises(
        ValueError, match=r"76 tokens is too long, CLIP reads 75.*'cat cat"
    ) as raised:
        tokenizer("cat " * 76)
    assert str(raised.value).endswith(".")
