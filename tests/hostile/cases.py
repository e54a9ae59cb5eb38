"""Hostile files in any number, the same for the same seed, and what became of reading one."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, rmtree

from tests.hostile.kinds import KINDS, Kind

LONGEST_SENTENCE = 2000


@dataclass(frozen=True)
class Case:
    """One hostile file: its kind and the chance that makes it."""

    kind: Kind
    seed: str


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a case: what it showed, or the sentence that it refused with."""

    case: Case
    shown: tuple[str, ...] = ()
    refusal: str | None = None

    @property
    def flaw(self) -> str | None:
        """What is wrong with what was said of the file; None where it is as it should be."""
        for line in self.shown:
            if not line.isprintable() or set(line) & set("<>&"):
                return f"shows {line[:200]!r}"
        if self.refusal is None:
            return None
        if not self.refusal.isprintable() or not self.refusal.endswith("."):
            return f"says no sentence: {self.refusal[:300]!r}"
        return "says too much" if len(self.refusal) > LONGEST_SENTENCE else None


def cases(seed: int, count: int) -> Iterator[Case]:
    """`count` cases, every kind in turn."""
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        yield Case(kind, f"{seed} {kind.name} {number}")


class Workshop:
    """Makes hostile files of cases in a folder and has them read; a whole file of each kind is made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: dict[str, tuple[Path, Path]] = {}

    def attempt(self, case: Case) -> Outcome:
        """Read the hostile file. What is no ValueError comes through: it is a traceback that a user would see."""
        path = self._prepared(case)
        try:
            return Outcome(case, shown=case.kind.read(path))
        except ValueError as error:
            return Outcome(case, refusal=str(error))

    def _prepared(self, case: Case) -> Path:
        if case.kind.name not in self._whole:
            whole = self._folder / f"whole {case.kind.name}"
            rmtree(whole, ignore_errors=True)
            whole.mkdir()
            inside = case.kind.make(whole).relative_to(whole)
            self._whole[case.kind.name] = whole, inside
            # A copy, for some readers use up what they read.
            case.kind.read(self._copy_of(whole) / inside)
        whole, inside = self._whole[case.kind.name]
        place = self._copy_of(whole)
        chance = random.Random(case.seed)
        change = chance.choice(case.kind.mutations)
        (place / inside).write_bytes(change((place / inside).read_bytes(), chance))
        return place / inside

    def _copy_of(self, whole: Path) -> Path:
        place = self._folder / "hostile"
        rmtree(place, ignore_errors=True)
        copytree(whole, place)
        return place
