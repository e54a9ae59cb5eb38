"""One piece of work in a process of its own with bounded time and memory, and what became of it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tuple(str(ROOT / name) for name in ("davae_core", "training", "nodes"))
SECONDS = 5
"""Of processor time, which a busy machine does not change."""
MEMORY = 3 * 2**29
"""Bytes beyond what the process had before: 1.5 GB."""
WALL_SECONDS = 60
"""After which work that takes no processor time is taken to hang."""
OWN_LAST = "Something unforeseen went wrong"
"""How the sentence begins that stands for an error which nobody foresaw."""
NO_MEMORY = "too little free memory"

VALID, SENTENCE, UNFORESEEN = "valid", "sentence", "unforeseen"
TRACEBACK, GARBLED, TIMEOUT, OUT_OF_MEMORY, SIGNAL = (
    "traceback",
    "garbled",
    "timeout",
    "memory",
    "signal",
)
LEFTOVER, CODE = "leftover", "code ran"
GOOD = (VALID, SENTENCE, UNFORESEEN)
"""What may become of a case: a result, one sentence, or the sentence of the last net, which is counted by itself."""
BAD = (TRACEBACK, GARBLED, TIMEOUT, OUT_OF_MEMORY, SIGNAL, LEFTOVER, CODE)


@dataclass(frozen=True)
class Outcome:
    """What became of a piece of work: one of GOOD or BAD, the words for it, and what it took."""

    kind: str
    words: str = ""
    place: str = ""
    cpu_seconds: float = 0.0
    memory: int = 0


Work = Callable[[], int | None]
"""Returns a command's exit code, or None where there is none, or raises."""


def isolated(work: Work, folder: Path) -> Outcome:
    """Run `work` in a forked process in `folder`. The process that calls must have one thread."""
    return isolated_in_turn([(work, folder)])[0]


def isolated_in_turn(works: Sequence[tuple[Work, Path]]) -> list[Outcome]:
    """Run several in one process, which saves the forking; what ends it or takes much is judged in one of its own.

    Limits hold for each by itself. Only for work that leaves nothing behind in its process.
    """
    found: list[Outcome] = []
    while len(found) < len(works):
        rest = works[len(found) :]
        said, status = _run(rest)
        outcomes = [Outcome(**json.loads(line)) for line in said.splitlines()]
        if not outcomes and len(rest) == 1:
            return [*found, _ended(said, status)]
        found += [_within_limits(outcome) for outcome in outcomes]
        if not outcomes:
            found += isolated_in_turn(rest[:1])
    return found


def _run(works: Sequence[tuple[Work, Path]]) -> tuple[bytes, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(works, writer)
    os.close(writer)
    said = _read_all(reader, child)
    return said, os.waitpid(child, 0)[1]


def _ended(said: bytes, status: int) -> Outcome:
    """What became of work that ended its process."""
    if not os.WIFSIGNALED(status):
        return Outcome(SIGNAL, f"exit {os.WEXITSTATUS(status)}")
    number = os.WTERMSIG(status)
    # The limit on processor time ends with SIGXCPU; SIGKILL is what `_read_all` gives to what hangs.
    late = number == signal.SIGXCPU or (number == signal.SIGKILL and said == _HANGS)
    return Outcome(TIMEOUT if late else SIGNAL, signal.Signals(number).name)


def _within_limits(found: Outcome) -> Outcome:
    if found.kind in GOOD and found.memory > MEMORY:
        return replace(found, kind=OUT_OF_MEMORY)
    if found.kind in GOOD and found.cpu_seconds > SECONDS:
        return replace(found, kind=TIMEOUT)
    return found


_HANGS = b"hangs"


def _read_all(reader: int, child: int) -> bytes:
    """What the child writes until it ends; one that says nothing for too long is killed."""
    said = b""
    with os.fdopen(reader, "rb", buffering=0) as file:
        while True:
            ready, _, _ = select.select([file], [], [], WALL_SECONDS)
            if not ready:
                os.kill(child, signal.SIGKILL)
                return said or _HANGS
            part = file.read(65536)
            if not part:
                return said
            said += part


def _in_child(works: Sequence[tuple[Work, Path]], writer: int) -> None:
    code = 70
    try:
        _limit()
        for work, folder in works:
            outcome = _measured(work, folder)
            os.write(writer, json.dumps(asdict(outcome)).encode() + b"\n")
            if outcome.memory > _MUCH:
                break
        code = 0
    finally:
        # Nothing of the parent's is flushed or ended here a second time.
        os._exit(code)


def _measured(work: Work, folder: Path) -> Outcome:
    os.chdir(folder)
    before, began = _pages(1), time.process_time()
    limit = int(began) + 1 + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    outcome = _outcome(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = round(time.process_time() - began, 3)
    return replace(outcome, cpu_seconds=seconds, memory=max(peak - before, 0))


_MUCH = 2**28
"""Bytes, after which a process is not used again, so that its peak is one work's own."""


def _limit() -> None:
    virtual = _pages(0) + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (virtual, virtual))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    # A library's own warnings go past sys.stderr.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _outcome(work: Work) -> Outcome:
    out, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = work()
    except SystemExit as error:
        return Outcome(SENTENCE if error.code == 2 else TRACEBACK, f"exit {error.code}")
    except BaseException as error:  # noqa: BLE001 - what it is, is what is asked for
        return _raised(error)
    if not code:
        return Outcome(VALID)
    return _said(errors.getvalue())


def _raised(error: BaseException) -> Outcome:
    """A function's own sentence, or an error that a user would see as a traceback."""
    words = str(error)
    if NO_MEMORY in words or isinstance(error, MemoryError):
        return Outcome(OUT_OF_MEMORY, _short(words))
    if type(error).__module__.partition(".")[0] in (
        "davae",
        "davae_core",
        "training",
        "builtins",
    ) and isinstance(error, (ValueError, ImportError)):
        flaw = sentence_flaw(words)
        if flaw is None:
            return Outcome(SENTENCE, _short(words))
        if type(error) is not ValueError:
            return Outcome(GARBLED, f"{flaw}: {_short(words)}")
    return Outcome(TRACEBACK, _short(f"{type(error).__name__}: {words}"), place_of(error))


def _said(errors: str) -> Outcome:
    """What a command wrote before it ended with another code than 0."""
    if "Traceback (most recent call last)" in errors:
        return Outcome(TRACEBACK, _short(errors.strip().rpartition("\n")[2]))
    lines = [line for line in errors.splitlines() if not _is_log(line)]
    # What has no full stop, as every sentence should, is taken for a log line where there is another.
    lines = lines or errors.splitlines()[-1:]
    words = "\n".join(line.removeprefix("davae: ") for line in lines)
    if NO_MEMORY in words:
        return Outcome(OUT_OF_MEMORY, _short(words))
    if OWN_LAST in words:
        place = re.search(r"\((\w+)[^()]*?, ([\w.]+ line \d+)\)", words)
        return Outcome(UNFORESEEN, _short(words), " ".join(place.groups()) if place else "")
    flaw = sentence_flaw(words)
    return (
        Outcome(SENTENCE, _short(words))
        if flaw is None
        else Outcome(GARBLED, f"{flaw}: {_short(words)}")
    )


def _is_log(line: str) -> bool:
    """A log line or a note of a command; both go on where the work is."""
    return not line.startswith("davae: ") and (not line.endswith(".") or ": cropped from " in line)


def sentence_flaw(words: str) -> str | None:
    """Why something is not one sentence in one line that does nothing to a terminal; None where it is."""
    if not words:
        return "silence"
    if "\n" in words:
        return "several lines"
    if not words.isprintable():
        return "control characters"
    if not words.endswith("."):
        return "no full stop"
    return "too long" if len(words) > 2000 else None


def place_of(error: BaseException) -> str:
    """Type, and the innermost line of this project's packages that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGES)]
    if not own:
        return type(error).__name__
    last = own[-1]
    return f"{type(error).__name__} {Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def _short(words: str) -> str:
    return words[:300]


def _pages(column: int) -> int:
    """Bytes of this process: 0 of its addresses, 1 of its memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[column])
    return pages * resource.getpagesize()


def modules_of(work: Work, folder: Path) -> set[str]:
    """The modules that `work` imports beyond those there are, found in a process of its own."""
    known = set(sys.modules)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.chdir(folder)
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                work()
        finally:
            found: list[Any] = [name for name in sys.modules if name not in known]
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return set(json.loads(said))
