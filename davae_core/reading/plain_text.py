"""Text out of files, fit to be shown: in a sentence, in a terminal, in a browser's page.

A file comes from a stranger. What it calls itself may hold a terminal's escape sequences, line breaks that forge a
second message, or a page's markup.
"""

import reprlib

LONGEST = 100
"""Characters of a file's own that are shown in one go."""
LONGEST_SENTENCE = 2000
"""Characters of an error; what is longer is cut in its middle."""
_MARKUP = "<>&"
_WITHOUT_MARKUP = str.maketrans(dict.fromkeys(_MARKUP, "?"))


class SentenceError(ValueError):
    """An error told in one sentence, which stays one line of printable characters whatever stands in it."""

    def __init__(self, sentence: str) -> None:
        text = printable(sentence)
        if len(text) > LONGEST_SENTENCE:
            text = f"{text[: LONGEST_SENTENCE - 502]} … {text[-499:]}"
        super().__init__(text)


def printable(text: str) -> str:
    """`text` as one line that does nothing to a terminal: other space becomes a blank, what has no sign a "?"."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text.strip()
    )


def without_markup(text: str) -> str:
    """`text`, its lines kept, in characters that mean nothing to a browser or a terminal."""
    return "\n".join(printable(line).translate(_WITHOUT_MARKUP) for line in text.split("\n"))


def is_plain(text: str, longest: int = LONGEST) -> bool:
    """Whether `text` can be shown anywhere: printable, one line, no markup, at most `longest` characters."""
    return len(text) <= longest and text.isprintable() and not set(text) & set(_MARKUP)


def plain(text: str) -> str:
    """`text` as `is_plain` wants it, cut short and with "?" for what cannot be shown."""
    found = printable(text[: LONGEST + 1]).translate(_WITHOUT_MARKUP)
    return found if len(found) <= LONGEST else found[: LONGEST - 1] + "…"


class _Shortened(reprlib.Repr):
    """Values in a few words; reprlib's own rule for whole numbers writes every digit first, which Python may refuse."""

    def repr_int(self, x: int, level: int) -> str:
        return f"a number of {x.bit_length()} bits" if x.bit_length() > 128 else str(x)


_REPR = _Shortened()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 4
_REPR.maxlevel = 3


def shown(value: object) -> str:
    """A value in at most 100 characters of plain text, as Python writes it."""
    return plain(_REPR.repr(value))
