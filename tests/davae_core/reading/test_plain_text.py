import pytest

from davae_core.files import CheckpointError
from davae_core.reading.plain_text import (
    LONGEST,
    LONGEST_SENTENCE,
    is_plain,
    plain,
    printable,
    shown,
    without_markup,
)

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "safe\nNeeds: nothing, it is safe.",
    "\x1b[2J\x1b[31mred",
    "a\u202eb",
    "\ud800",
    "a" * 10**6,
    "a\u2028b&lt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_plain_can_stand_anywhere(text):
    assert not is_plain(text) and is_plain(plain(text))
    assert is_plain(shown(text)) and is_plain(shown({"x": [text], text: 1}))


def test_ordinary_text_stays_as_it_is():
    for text in ("sd3.5_medium.safetensors", "Gemälde 画.png", "", 'it\'s (1) [2] {3} "4"'):
        assert is_plain(text) and plain(text) == printable(text) == without_markup(text) == text


def test_long_text_is_cut_with_a_sign_that_it_was():
    assert plain("a" * 200) == "a" * (LONGEST - 1) + "…"
    assert plain("a" * LONGEST) == "a" * LONGEST


def test_what_a_terminal_obeys_becomes_one_line_that_it_shows():
    assert printable("a\tb\r\nc\x1b[0m\n") == "a b  c?[0m"


def test_markup_goes_and_lines_stay():
    assert without_markup("<b>a</b>\nb & c\x07") == "?b?a?/b?\nb ? c?"


def test_numbers_too_long_to_be_written_are_shown_by_their_size():
    for value in (10**5000, -(10**5000), [10**5000], {"x": 16**5000}):
        assert "bits" in shown(value)


def test_an_error_is_one_line_whatever_stands_in_it():
    assert str(CheckpointError("a\nb\x1b[1m.safetensors is no file.")) == (
        "a b?[1m.safetensors is no file."
    )


def test_an_error_is_never_longer_than_anyone_reads():
    sentence = str(CheckpointError(f"a.safetensors has {'x' * 10**5}: get it again."))
    assert len(sentence) == LONGEST_SENTENCE
    assert sentence.startswith("a.safetensors has") and sentence.endswith("x: get it again.")
