"""Tokens of CLIP; tests/nodes/test_text_encoder_inside_comfyui.py compares them with ComfyUI's."""

import sys

import pytest

from davae_core.files import CheckpointError
from davae_core.mini.clip_tokenizer import END, POSITIONS, START, ClipTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


def test_a_prompt_is_start_words_and_ends_up_to_77(tokenizer):
    # The numbers that CLIP's model card and every tokenizer of CLIP give.
    assert tokenizer("a photo of a cat") == [START, 320, 1125, 539, 320, 2368, *[END] * 71]


def test_an_empty_prompt_is_start_and_ends(tokenizer):
    assert tokenizer(" \n ") == [START, *[END] * (POSITIONS - 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a red circle on the left, on a grey background",
            [320, 736, 7117, 525, 518, 1823, 267, 525, 320, 5046, 5994],
        ),
        (
            "It's 2026,\n and I'd've   DON'T...",
            [585, 568, 273, 271, 273, 277, 267, 537, 328, 1896, 1200, 847, 713, 678],
        ),
        ("''s 'll'd a'S", [8445, 338, 1342, 1896, 320, 568]),
        ("½ ② cafe\u0301 naïve", [33613, 158, 239, 350, 15304, 1097, 35689, 563]),
        # A sigma stays a middle one at the end, as Python's lower() of a whole word would not leave it.
        (
            "ΣΊΣΥΦΟΣ İstanbul",
            [
                139,
                225,
                138,
                107,
                139,
                225,
                139,
                227,
                139,
                228,
                138,
                123,
                139,
                481,
                328,
                16384,
                11231,
            ],
        ),
        ("東京タワー 🎉", [48338, 21078, 105, 34941, 2429, 107, 30391, 3986]),
        ("हिन्दी", [29446, 26721, 26090, 19389, 29552, 25751]),
        ("no\u00a0break\u3000wide\u200bzero", [871, 2568, 3184, 9844, 5848]),
        (
            "a_b-c <html> &amp; C++",
            [320, 318, 321, 268, 322, 283, 18231, 285, 261, 6259, 282, 322, 19056],
        ),
        ("mississippi hahahahaha xzqvkj", [12232, 16347, 87, 89, 80, 85, 28238]),
        # Text like any other: only this tokenizer sets the end.
        ("<|endoftext|>", [27, 347, 40786, 4160, 91, 285]),
    ],
)
def test_words_have_clip_s_numbers(tokenizer, text, expected):
    assert tokenizer.words(text) == expected


def test_case_and_spaces_do_not_matter(tokenizer):
    assert tokenizer("  A  Photo\tof a\nCAT") == tokenizer("a photo of a cat")


def test_no_word_is_unknown(tokenizer):
    assert all(0 <= token < START for token in tokenizer.words("東京 🎉 zxqvkj ½ don't"))


def test_the_longest_prompt_has_75_tokens_and_a_longer_one_is_refused(tokenizer):
    assert tokenizer("cat " * 75)[-1] == END
    with pytest.raises(
        ValueError, match=r"76 tokens is too long, CLIP reads 75.*'cat cat"
    ) as raised:
        tokenizer("cat " * 76)
    assert str(raised.value).endswith(".")


def test_a_missing_vocabulary_is_named_with_the_package_that_ships_it(monkeypatch):
    # None in sys.modules is how Python marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "clip", None)
    with pytest.raises(CheckpointError, match=r"vocabulary of CLIP.*pip install clip-anytorch"):
        ClipTokenizer()


def test_half_a_character_is_a_question_mark(tokenizer):
    assert tokenizer("red \ud800") == tokenizer("red ?")
