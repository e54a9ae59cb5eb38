"""How many levels and blocks a pretrained autoencoder has, counted among its tensors' names."""

from collections.abc import Iterable

from ..format import numbers_in


def level_blocks(names: Iterable[str]) -> tuple[int, int]:
    """Resolution levels of the encoder and residual blocks of its first one, counted among LDM names."""
    names = list(names)
    levels = numbers_in(names, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight$")
    return len(levels), len(numbers_in(names, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight$"))


def small_level_blocks(names: Iterable[str]) -> tuple[int, int]:
    """Resolution levels of a small encoder and residual blocks at each, counted among its names.

    0 blocks where the names do not share them out evenly.
    """
    names = list(names)
    # All levels but the first begin with a convolution; so does the encoder, and one more ends it.
    levels = len(numbers_in(names, r"encoder\.(\d+)\.weight$")) - 1
    # The first level has one block.
    blocks = len(numbers_in(names, r"encoder\.(\d+)\.conv\.0\.weight$")) - 1
    even = levels > 1 and blocks % (levels - 1) == 0
    return levels, blocks // (levels - 1) if even else 0
