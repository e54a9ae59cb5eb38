"""Damaged files of every kind through what reads them: each case ends in a result or in one sentence."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random as randomness
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .damage.any_bytes import CANARY, Damage
from .damage.formats import damaged
from .isolation import (
    BAD,
    CODE,
    GOOD,
    LEFTOVER,
    SENTENCE,
    UNFORESEEN,
    Outcome,
    Work,
    isolated,
    isolated_in_turn,
    modules_of,
)
from .kinds import SOURCES, Kind, copy_folder, kinds, whole_file, write_sources

Progress = Callable[[int, int], None]
_TOGETHER = 20
"""Cases that share a process where they can."""
_OUTPUTS = ("out", "out.png", "out.safetensors")


@dataclass(frozen=True)
class Case:
    """One damaged file, one use of it, and what became of it."""

    number: int
    kind: str
    use: int
    damage: str
    outcome: Outcome


@dataclass
class Findings:
    """The cases of a run: how many ended how, and those that must not be."""

    seed: int
    all: list[Case] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[Case] = field(default_factory=list)
    unforeseen: list[Case] = field(default_factory=list)
    cpu_seconds: float = 0.0
    slowest: float = 0.0
    largest: int = 0

    def add(self, case: Case) -> None:
        """Count a case."""
        self.all.append(case)
        found = case.outcome
        self.counts[found.kind] += 1
        self.by_kind.setdefault(case.kind, Counter())[found.kind] += 1
        self.cpu_seconds += found.cpu_seconds
        self.slowest = max(self.slowest, found.cpu_seconds)
        self.largest = max(self.largest, found.memory)
        if found.kind in BAD:
            self.bad.append(case)
        if found.kind == UNFORESEEN:
            self.unforeseen.append(case)

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def figures(self) -> dict[str, Any]:
        """What is kept of a run."""
        return {
            "seed": self.seed,
            "cases": self.cases,
            "kinds": len(self.by_kind),
            "outcomes": {name: self.counts[name] for name in (*GOOD, *BAD)},
            "cpu_seconds": round(self.cpu_seconds),
            "slowest_cpu_seconds": round(self.slowest, 1),
            "largest_mib": self.largest >> 20,
        }


def fuzz(
    cases: int,
    seed: int,
    keep: Path | None = None,
    progress: Progress | None = None,
    folders: Sequence[str] = tuple(SOURCES),
    part: tuple[int, int] = (0, 1),
) -> Findings:
    """Run `cases` cases; the same seed gives the same ones. Files of those that must not be go to `keep`.

    `folders`: the kinds whose whole files are in these of SOURCES alone. `part`: which of how many equal parts.
    """
    with tempfile.TemporaryDirectory(prefix="davae-fuzz-") as place:
        folder = Path(place)
        sources = folder / "sources"
        run_apart(lambda: write_sources(sources, folders))
        every = [kind for kind in kinds() if kind.folder in folders]
        check_whole(every, sources, folder)
        # A process with fewer pages to look through is forked faster.
        gc.freeze()
        numbers = range(part[0], cases, part[1])
        return _fuzz(numbers, seed, every, _Places(sources, folder, keep), progress)


def fuzz_side_by_side(
    cases: int, seed: int, keep: Path | None, progress: Progress, jobs: int
) -> Findings:
    """`fuzz` in several processes; the cases are the same."""
    found = Findings(seed)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        parts = [
            pool.submit(fuzz, cases, seed, keep, progress, tuple(SOURCES), (number, jobs))
            for number in range(jobs)
        ]
        for part in parts:
            for case in part.result().all:
                found.add(case)
    return found


@dataclass(frozen=True)
class _Places:
    """Where whole files are, where cases are tried, and where those that must not be are kept."""

    sources: Path
    cases: Path
    keep: Path | None


def _fuzz(
    numbers: range, seed: int, every: Sequence[Kind], places: _Places, progress: Progress | None
) -> Findings:
    found, waiting = Findings(seed), []
    for number in numbers:
        prepared = _prepare(number, seed, every[number % len(every)], places)
        if not prepared.kind.leaves_nothing:
            found.add(_judged(prepared, isolated(prepared.work, prepared.place), places.keep))
        else:
            waiting.append(prepared)
        if len(waiting) == _TOGETHER or number == numbers[-1]:
            outcomes = isolated_in_turn([(one.work, one.place) for one in waiting])
            for one, outcome in zip(waiting, outcomes, strict=True):
                found.add(_judged(one, outcome, places.keep))
            waiting = []
        if progress is not None:
            progress(found.cases, len(found.bad))
    return found


def run_apart(work: Work) -> None:
    """Do something in a process of its own, so that this one stays without threads. Raises RuntimeError if it fails."""
    child = os.fork()
    if child == 0:
        code, said = 1, io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                work()
            code = 0
        finally:
            if code:
                sys.__stderr__.write(f"{said.getvalue()}{traceback.format_exc()}")  # type: ignore[union-attr]
                sys.__stderr__.flush()  # type: ignore[union-attr]
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("The whole files could not be written: look above for why.")


def check_whole(every: Sequence[Kind], sources: Path, folder: Path) -> None:
    """Import what the uses need, once and for all, and see that each is content with undamaged files.

    Raises RuntimeError, naming the use, when it is not.
    """
    done: set[tuple[str, int]] = set()
    for kind in every:
        for number, use in enumerate(kind.uses):
            if (kind.folder, id(use)) in done:
                continue
            done.add((kind.folder, id(use)))
            place = copy_folder(sources / kind.folder, folder / "whole")
            import_for(use, place)
            shutil.rmtree(place)
            place = copy_folder(sources / kind.folder, folder / "whole")
            outcome = isolated(use, place)
            shutil.rmtree(place)
            stops = outcome.words.startswith("Stopped before the end")
            if outcome.kind not in GOOD or (outcome.kind != "valid" and not stops):
                raise RuntimeError(f"Use {number} of a whole {kind.name} ended in {outcome}.")


def import_for(use: Work, place: Path) -> None:
    """Import the modules that a use needs, once and for all; one that only its own package can import is left to it."""
    for name in sorted(modules_of(use, place)):
        with contextlib.suppress(Exception):
            import_module(name)


@dataclass(frozen=True)
class _Prepared:
    """A case that is ready: its folder, what lies there, and what was damaged."""

    number: int
    kind: Kind
    use: int
    damage: Damage
    place: Path
    before: frozenset[str]

    @property
    def work(self) -> Work:
        """The use."""
        return self.kind.uses[self.use]


def _prepare(number: int, seed: int, kind: Kind, places: _Places) -> _Prepared:
    random = randomness.Random(f"{seed} {number}")
    damage = damaged(kind.form, whole_file(kind, places.sources), random)
    use = random.randrange(len(kind.uses))
    place = copy_folder(
        places.sources / kind.folder, places.cases / f"case_{number}", without=kind.file
    )
    (place / kind.file).write_bytes(damage.data)
    return _Prepared(number, kind, use, damage, place, _listing(place))


def _judged(prepared: _Prepared, outcome: Outcome, keep: Path | None) -> Case:
    """The case with what it left; its folder is removed."""
    outcome = _with_leftovers(outcome, prepared.place, prepared.before)
    case = Case(prepared.number, prepared.kind.name, prepared.use, prepared.damage.name, outcome)
    if keep is not None and outcome.kind in (*BAD, UNFORESEEN):
        _keep(case, prepared.kind, prepared.damage, keep)
    shutil.rmtree(prepared.place)
    return case


def _listing(place: Path) -> frozenset[str]:
    return frozenset(path.relative_to(place).as_posix() for path in place.rglob("*"))


def _with_leftovers(outcome: Outcome, place: Path, before: frozenset[str]) -> Outcome:
    """Code that ran is worse than anything; a failed command leaves no output, and no case half-written files."""
    new = _listing(place) - before
    if any(Path(name).name == CANARY for name in new):
        return replace(outcome, kind=CODE)
    parts = [name for name in new if name.endswith(".part")]
    if outcome.kind in (SENTENCE, UNFORESEEN):
        parts += [name for name in new if name in _OUTPUTS and not (place / name).is_dir()]
    if parts and outcome.kind in GOOD:
        return replace(outcome, kind=LEFTOVER, words=f"{', '.join(parts)} after: {outcome.words}")
    return outcome


def _keep(case: Case, kind: Kind, damage: Damage, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    name = f"{case.number:05d} {case.outcome.kind} {kind.name}".replace(" ", "_")
    (keep / f"{name}{Path(kind.file).suffix}").write_bytes(damage.data)
    (keep / f"{name}.txt").write_text(in_words(case) + "\n", encoding="utf-8", errors="replace")


def in_words(case: Case) -> str:
    """A case in one line."""
    found = case.outcome
    return (
        f"{case.number} {found.kind}: {case.kind}, use {case.use}, {case.damage}: {found.words!r} {found.place} "
        f"({found.cpu_seconds} s, {found.memory >> 20} MiB)"
    )


def places_of(cases: Iterable[Case]) -> list[tuple[str, int]]:
    """The places in the code where cases went wrong, most frequent first."""
    found = Counter(
        f"{case.kind}: {case.outcome.kind} {case.outcome.place or case.outcome.words[:80]}"
        for case in cases
    )
    return found.most_common()
