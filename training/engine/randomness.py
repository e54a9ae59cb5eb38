"""Every random choice of a run as a pure function of the seed and a number, so that resuming needs no hidden state.

Samples are numbered over the whole run and over all processes; whichever process draws sample n, and after however
many restarts, its crop and its noise are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What a random number is for; separate streams never share numbers."""

    ORDER = 0
    CROP = 1
    NOISE = 2
    DROPOUT = 3
    STATISTICS = 4
    LEVEL = 5
    SAMPLE = 6
    BASE_LEVEL = 7
    CAPTION = 8
    SHARDS = 9


def numpy_generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """Random numbers that belong to one use of one sample."""
    return np.random.default_rng((seed, int(stream), number))


def number_generator(seed: int, stream: Stream, number: int) -> torch.Generator:
    """Torch's random numbers that belong to one use of one sample."""
    state = np.random.SeedSequence((seed, int(stream), number)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def sample_noise(
    seed: int, numbers: Sequence[int], shape: tuple[int, ...], stream: Stream = Stream.NOISE
) -> Tensor:
    """Standard normal noise [len(numbers), *shape] in float32, row i a function of the seed and numbers[i] only."""
    generators = (number_generator(seed, stream, number) for number in numbers)
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def keep_mask(seed: int, numbers: Sequence[int], dropout: float) -> Tensor:
    """[len(numbers), 1, 1, 1]: 0 for dropped samples, 1 / (1 - dropout) for kept ones."""
    draws = [numpy_generator(seed, Stream.DROPOUT, number).random() for number in numbers]
    kept = torch.tensor([draw >= dropout for draw in draws], dtype=torch.float32)
    return (kept / (1.0 - dropout)).view(-1, 1, 1, 1)
