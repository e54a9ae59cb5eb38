"""Files that strangers made: every reader gives one sentence or a sound result, and takes no great memory.

`tests/hostile/cases.py` makes as many as one likes; a few hundred of them are enough to notice what was forgotten.
"""

import resource
from pathlib import Path

import pytest

from tests.hostile.cases import Workshop, cases
from tests.hostile.kinds import KINDS

SEED, COUNT = 1, 490
MEMORY = 2**20
"""KiB that the process may grow by: a gigabyte, of which libraries that are loaded meanwhile take the most."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_file_is_one_sentence_or_a_sound_result(workshop, kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases(SEED, COUNT):
        if case.kind is kind:
            outcome = workshop.attempt(case)
            assert outcome.flaw is None, (case.seed, outcome.flaw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def test_the_same_seed_makes_the_same_files():
    one, other = ([case.seed for case in cases(7, 60)] for _ in range(2))
    assert one == other
    assert {case.kind.name for case in cases(7, len(KINDS))} == {kind.name for kind in KINDS}


def test_the_files_that_are_made_hostile_are_whole_before(tmp_path: Path):
    for kind in KINDS:
        folder = tmp_path / kind.name.replace(" ", "_")
        folder.mkdir()
        kind.read(kind.make(folder))
