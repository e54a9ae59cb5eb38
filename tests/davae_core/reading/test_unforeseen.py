from pathlib import Path

import pytest
import torch

from davae_core.files import CheckpointError
from davae_core.reading.unforeseen import (
    UNFORESEEN,
    gpu_is_full,
    is_sentence,
    memory_is_full,
    unforeseen_sentence,
)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ZeroDivisionError(),
        TypeError("a\nb"),
        RecursionError("deep."),
        IndexError("\x1b[1m"),
        OverflowError(),
    ],
)
def test_whatever_nobody_foresaw_is_one_sentence_with_its_files_and_its_place(error):
    sentence = unforeseen_sentence(raised(error), [Path("a.safetensors"), Path("b.png")])
    assert "a.safetensors, b.png" in sentence and type(error).__name__ in sentence
    assert "test_unforeseen.py line" in sentence
    assert sentence.isprintable() and sentence.endswith(".")
    assert isinstance(error, UNFORESEEN)


def test_what_ends_a_program_on_purpose_passes():
    for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
        assert not issubclass(error, UNFORESEEN)


def test_full_memory_is_known_in_all_its_words():
    assert gpu_is_full(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert gpu_is_full(RuntimeError("CUDA error: out of memory"))
    assert gpu_is_full(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert memory_is_full(MemoryError())
    assert memory_is_full(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not gpu_is_full(RuntimeError("shape")) and not memory_is_full(ValueError("x"))


def test_a_library_s_words_are_no_sentence_of_ours():
    assert is_sentence(CheckpointError("data.train names nothing: check it."))
    assert is_sentence(ValueError("This latent is none: use another."))
    for error in (
        ValueError("cannot reshape"),
        KeyError("x"),
        ValueError("a.\nb."),
        TypeError("X is no."),
    ):
        assert not is_sentence(error)
