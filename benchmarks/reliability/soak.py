"""Many clients at one real ComfyUI: mixed prompts, interrupts, files that come and go, and kills of the server.

Every prompt must end in a right state: with exactly the picture that the same prompt gives alone, with our sentence
where its file is gone or broken, or interrupted or withdrawn by someone. What was lost with the server is sent again.
"""

from __future__ import annotations

import queue
import random as randomness
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .comfyui import GONE, Ended, Killable, flaw_of, with_prefix
from .isolation import sentence_flaw
from .jobs import CHANGING, ON_BROKEN, ON_CHANGING, VERSIONS, Job, change

Progress = Callable[[int, int], None]
SECONDS = 300
"""In which a prompt must have ended, the wait in the queue included."""
CALM = 100
"""Prompts after a start until the server's memory is first looked at."""
BETWEEN = 3
"""Prompts that end from one disturbance to the next."""
PAUSE = 0.3
"""Seconds until it is looked again whether so many have."""
ATTEMPTS = 20


@dataclass(frozen=True)
class Plan:
    """How much is asked of the server."""

    prompts: int = 500
    clients: int = 8
    kills: int = 3
    seed: int = 1

    def kill_after(self) -> list[int]:
        """How many prompts are done when the server is killed; the last stretch is more than half of all."""
        return [(number + 1) * self.prompts // (2 * self.kills + 2) for number in range(self.kills)]


@dataclass
class Findings:
    """What became of the prompts, and of the server's memory."""

    plan: Plan
    states: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    bad: list[str] = field(default_factory=list)
    memory: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        """What is kept of a run."""
        mib = {done: size >> 20 for done, size in sorted(self.memory.items())}
        return {
            "seed": self.plan.seed,
            "prompts": self.plan.prompts,
            "clients": self.plan.clients,
            "kills": self.plan.kills,
            "states": dict(sorted(self.states.items())),
            "disturbances": dict(sorted(self.disturbances.items())),
            "sent_again": self.sent_again,
            "wrong": len(self.bad),
            "memory_mib": mib,
            "seconds": round(self.seconds),
        }


def soak(server: Killable, plan: Plan, progress: Progress | None = None) -> Findings:
    """Draw every prompt alone, then all of them in the turmoil, and compare.

    `server`: as `jobs.running_server` gives it.
    """
    jobs = [Job(number) for number in range(plan.prompts)]
    for job in jobs:
        job.write_picture(server.base)
    alone = {job: _alone(job, server, progress) for job in jobs}
    change(server.base, VERSIONS[0])
    return _Turmoil(plan, server, alone, progress).run(jobs)


def _alone(job: Job, server: Killable, progress: Progress | None) -> set[tuple[str, ...]]:
    """The pictures that a job may end with: one, or one for each version of the file that changes."""
    found = set()
    for version in VERSIONS if job.kind == ON_CHANGING else VERSIONS[:1]:
        if job.kind == ON_CHANGING:
            change(server.base, version)
        ended = _once(job, server, f"alone/{job.number}_{version}")
        if job.kind == ON_BROKEN:
            _expect(_is_own_sentence(ended), job, ended)
            continue
        _expect(ended.state == "success", job, ended)
        found.add(_pictures(ended, server, None))
    if progress is not None:
        progress(job.number + 1, 0)
    return found


def _once(job: Job, server: Killable, prefix: str) -> Ended:
    sent = server.submit(with_prefix(job.graph(), prefix))
    return sent if isinstance(sent, Ended) else server.follow(sent, SECONDS)


def _expect(holds: bool, job: Job, ended: Ended) -> None:
    if not holds:
        raise RuntimeError(f"{job.kind} {job.number} drawn alone ended with {ended}.")


def _is_own_sentence(ended: Ended) -> bool:
    return ended.state == "error" and ended.own and sentence_flaw(ended.words) is None


def _pictures(ended: Ended, server: Killable, prefix: str | None) -> tuple[str, ...]:
    """Digests of a prompt's pictures by node; an empty one for a picture that is not under the prompt's own name."""
    found = []
    for name, output in sorted((ended.outputs or {}).items()):
        for image in output.get("images", ()):
            where = f"{image['subfolder']}/{image['filename']}"
            own = prefix is None or where.startswith(f"{prefix}_{name}_")
            found.append(server.digest(image) if own else "")
    return tuple(found)


class _Turmoil:
    """The clients, and what disturbs them."""

    def __init__(
        self,
        plan: Plan,
        server: Killable,
        alone: dict[Job, set[tuple[str, ...]]],
        progress: Progress | None,
    ) -> None:
        self.plan, self.server, self.alone, self.progress = plan, server, alone, progress
        self.found = Findings(plan)
        self.random = randomness.Random(plan.seed)
        self.waiting: queue.Queue[Job] = queue.Queue()
        self.lock, self.up, self.over = threading.Lock(), threading.Event(), threading.Event()
        self.stopped: dict[str, str] = {}
        self.done = self.calm_after = 0

    def run(self, jobs: list[Job]) -> Findings:
        """Everything, then the file that changes once more in quiet."""
        for job in jobs:
            self.waiting.put(job)
        began = time.monotonic()
        self.up.set()
        clients = [threading.Thread(target=self._client) for _ in range(self.plan.clients)]
        disturber = threading.Thread(target=self._disturb)
        for thread in (*clients, disturber):
            thread.start()
        for thread in clients:
            thread.join()
        self.over.set()
        disturber.join()
        self._note_memory()
        self.found.seconds = time.monotonic() - began
        self._settled()
        return self.found

    def _client(self) -> None:
        while True:
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._see_through(job)
            except Exception as error:  # noqa: BLE001 - a client that dies would hide its prompts
                self._count(job, "failed", f"the client failed with {error!r}")

    def _see_through(self, job: Job) -> None:
        """Send a job until it ends, again after each time it was lost with the server."""
        for attempt in range(ATTEMPTS):
            self.up.wait(SECONDS)
            prefix = f"soak/{job.number}_{attempt}"
            try:
                sent = self.server.submit(with_prefix(job.graph(), prefix))
                ended = sent if isinstance(sent, Ended) else self.server.follow(sent, SECONDS)
                stopped = "" if isinstance(sent, Ended) else self.stopped.get(sent, "")
                state, fault = self._judge(job, ended, stopped, prefix)
            except GONE:
                state, fault = "lost", None
            if state != "lost":
                self._count(job, state, fault)
                return
            with self.lock:
                self.found.sent_again += 1
            time.sleep(1)
        self._count(job, "lost", "it was lost again and again")

    def _judge(self, job: Job, ended: Ended, stopped: str, prefix: str) -> tuple[str, str | None]:
        """The state a job ended in, and what is wrong with that."""
        changing = job.kind == ON_CHANGING
        if ended.state == "lost":
            return "lost", None
        if ended.state == "success":
            drawn = _pictures(ended, self.server, prefix)
            right = drawn in self.alone[job]
            return (
                "own picture",
                None if right else "another picture than alone, or under another name",
            )
        if ended.state == "gone":
            return "withdrawn", None if stopped == "withdrawn" else "it vanished from the queue"
        if ended.state == "interrupted":
            return "interrupted", None if stopped else "nobody interrupted it"
        if ended.state == "error" and (changing or job.kind == ON_BROKEN):
            return "sentence", None if _is_own_sentence(ended) else f"{ended}"
        if ended.state == "refused" and changing:
            return "refused", None if CHANGING in ended.words else f"{ended}"
        return ended.state, flaw_of(ended) or f"{ended}"

    def _count(self, job: Job, state: str, fault: str | None) -> None:
        with self.lock:
            self.done += 1
            self.found.states[state] += 1
            self.found.kinds[job.kind] += 1
            if fault is not None:
                self.found.bad.append(f"{job.kind} {job.number}: {fault}")
            if self.progress is not None:
                self.progress(self.done, len(self.found.bad))
            if self.done == self.calm_after + min(CALM, self.plan.prompts // 4):
                self._note_memory()

    def _note_memory(self) -> None:
        self.found.memory[self.done] = self.server.memory()

    # Disturbances

    def _disturb(self) -> None:
        kills, last = self.plan.kill_after(), 0
        while not self.over.wait(PAUSE):
            if self.done < last + BETWEEN:
                continue
            last = self.done
            if kills and self.done >= kills[0]:
                kills.pop(0)
                self._kill()
            else:
                try:
                    self.random.choice(
                        (self._interrupt, self._withdraw, self._change, self._change)
                    )()
                except GONE as error:
                    self.found.bad.append(f"the server did not answer: {error!r}")

    def _kill(self) -> None:
        self.found.disturbances["kill"] += 1
        self.up.clear()
        self.server.kill()
        self.server.start()
        with self.lock:
            self.found.memory.clear()
            self.calm_after = self.done
        self.up.set()

    def _interrupt(self) -> None:
        running = self.server.running()
        if running is not None:
            self.stopped[running] = "interrupted"
            self.server.post("/interrupt", {"prompt_id": running})
            self.found.disturbances["interrupt"] += 1

    def _withdraw(self) -> None:
        waiting = self.server.waiting()
        if waiting:
            chosen = self.random.choice(waiting)
            self.stopped[chosen] = "withdrawn"
            self.server.post("/queue", {"delete": [chosen]})
            self.found.disturbances["withdrawal"] += 1

    def _change(self) -> None:
        to = self.random.choice((*VERSIONS, "absent", "truncated"))
        change(self.server.base, to)
        self.found.disturbances[f"file {to}"] += 1

    def _settled(self) -> None:
        """When all is quiet, a prompt sees the file that is there now."""
        job = next((job for job in self.alone if job.kind == ON_CHANGING), None)
        if job is None:
            return
        pictures = set()
        for number, version in enumerate((*VERSIONS, VERSIONS[0])):
            change(self.server.base, version)
            ended = _once(job, self.server, f"settled/{number}")
            pictures.add((version, _pictures(ended, self.server, None)))
        if len(pictures) != len(VERSIONS) or {drawn for _, drawn in pictures} != self.alone[job]:
            self.found.bad.append("a file that was replaced gave another file's picture")
        change(self.server.base, "absent")
        ended = _once(job, self.server, "settled/absent")
        if not (_is_own_sentence(ended) or ended.state == "refused"):
            self.found.bad.append(f"a file that is gone gave {ended}")
