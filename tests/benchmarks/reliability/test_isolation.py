"""What is said of work that goes wrong in each way, found in processes that are let go wrong."""

import os
import signal
import sys

import pytest

from benchmarks.reliability.isolation import (
    CODE,
    GARBLED,
    LEFTOVER,
    OUT_OF_MEMORY,
    SENTENCE,
    SIGNAL,
    TIMEOUT,
    TRACEBACK,
    UNFORESEEN,
    VALID,
    Outcome,
    isolated,
    isolated_in_turn,
    sentence_flaw,
)
from davae_core.files import CheckpointError

SAID = "davae: a.safetensors is empty: download or copy it again.\n"


def fails(words):
    def work():
        sys.stderr.write(words)
        return 1

    return work


def raises(error):
    def work():
        raise error

    return work


def spin():
    while True:
        pass


CASES = {
    VALID: [lambda: None, lambda: 0],
    SENTENCE: [fails(SAID), fails(f"resuming from x\n{SAID}"), raises(CheckpointError("It is wrong: mend it."))],
    UNFORESEEN: [fails("davae: Something unforeseen went wrong (KeyError: a, b.py line 3): report it.\n")],
    TRACEBACK: [
        raises(KeyError("a")), raises(RuntimeError("It is wrong.")), fails("Traceback (most recent call last):\n  x\n"),
    ],
    GARBLED: [
        fails(""), fails("no full stop"), fails(SAID * 2), fails("davae: a\x1b[2J.\n"),
        raises(CheckpointError("it has no full stop")),
    ],
    TIMEOUT: [spin],
    OUT_OF_MEMORY: [lambda: len(bytes(2**31)) and None, raises(MemoryError())],
    SIGNAL: [lambda: os.kill(os.getpid(), signal.SIGSEGV), lambda: os._exit(3)],
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_each_end_is_told_from_the_others(kind, tmp_path):
    assert [isolated(work, tmp_path).kind for work in CASES[kind]] == [kind] * len(CASES[kind])


def test_in_one_process_each_is_judged_as_in_one_of_its_own(tmp_path):
    every = [(kind, work) for kind in CASES if kind != TIMEOUT for work in CASES[kind]]
    found = isolated_in_turn([(work, tmp_path) for _, work in every])
    assert [outcome.kind for outcome in found] == [kind for kind, _ in every]


def test_the_line_of_ours_that_an_error_came_from_is_named(tmp_path):
    from davae_core.latents import crop_to_multiple

    found = isolated(lambda: crop_to_multiple("no picture", 2), tmp_path)
    assert found.kind == TRACEBACK and "davae_core/latents.py:" in found.place


def test_what_is_no_sentence_says_why():
    assert sentence_flaw("All is well.") is None
    assert sentence_flaw("two\nlines.") == "several lines"
    assert sentence_flaw("a" * 5000 + ".") == "too long"


def test_code_that_ran_and_files_left_behind_are_found(tmp_path):
    from benchmarks.reliability.damage.any_bytes import CANARY
    from benchmarks.reliability.files_fuzz import _listing, _with_leftovers

    before = _listing(tmp_path)
    (tmp_path / ".out.png.0.part").touch()
    assert _with_leftovers(Outcome(SENTENCE), tmp_path, before).kind == LEFTOVER
    (tmp_path / CANARY).touch()
    assert _with_leftovers(Outcome(VALID), tmp_path, before).kind == CODE
