"""A real ComfyUI for measurements: killed and started again, memory read, prompts followed by their history."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import time
import urllib.error
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from tests.comfyui.server import PACK, Graph, Server

from .isolation import ROOT, sentence_flaw

GONE = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)
"""What a client sees of a server that was killed."""
OWN = (PACK, str(ROOT / "nodes"), str(ROOT / "davae_core"))
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Ended:
    """How a prompt ended: success, error, interrupted, refused, lost with the server, gone from the queue, or late.

    `own`: an error came out of this project's code; `node`: the type of the node that failed.
    """

    state: str
    words: str = ""
    own: bool = False
    node: str = ""
    outputs: dict[str, Any] | None = None


class Killable(Server):
    """A server that can be killed; `generation` counts its starts."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.generation = 0

    def start(self) -> None:
        """Start it, keeping the log of the time before."""
        if self.log.exists():
            self.log.rename(self.log.with_suffix(f".{self.generation}.log"))
        super().start()
        self.generation += 1

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def memory(self) -> int:
        """Bytes of the server's process."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024

    def submit(self, graph: Any) -> str | Ended:
        """The id of a prompt, or why it was refused. Raises one of GONE when the server is away."""
        try:
            return str(self.post("/prompt", {"prompt": graph})["prompt_id"])
        except urllib.error.HTTPError as error:
            return _refusal(error.code, error.read())

    def follow(self, prompt: str, seconds: float) -> Ended:
        """Wait until a prompt ends, is gone, or has taken too long."""
        generation, deadline = self.generation, time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                queued = self.is_queued(prompt)
                history = self.get_json(f"/history/{prompt}")
            except GONE:
                return Ended("lost")
            if self.generation != generation:
                return Ended("lost")
            if prompt in history:
                return ended_of(history[prompt])
            if not queued:
                return Ended("gone")
            time.sleep(POLL_SECONDS)
        return Ended("late")

    def is_queued(self, prompt: str) -> bool:
        """Whether a prompt waits or runs."""
        queue = self.get_json("/queue")
        return any(item[1] == prompt for part in queue.values() for item in part)

    def running(self) -> str | None:
        """The prompt that is worked on."""
        found = self.get_json("/queue")["queue_running"]
        return str(found[0][1]) if found else None

    def waiting(self) -> list[str]:
        """The prompts that wait."""
        return [str(item[1]) for item in self.get_json("/queue")["queue_pending"]]

    def digest(self, image: dict[str, Any]) -> str:
        """SHA-256 of a picture's size and pixels."""
        data = self.get(f"/view?{urlencode(image)}")
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def _refusal(code: int, body: bytes) -> Ended:
    if code >= 500:
        return Ended("broken", f"HTTP {code}: {body[:200]!r}")
    try:
        found = json.loads(body)
    except ValueError:
        return Ended("refused", body[:200].decode("utf-8", "replace"))
    words = [found.get("error", {}).get("type", "")] if isinstance(found.get("error"), dict) else []
    for node in (found.get("node_errors") or {}).values():
        words += [f"{error['type']}: {error.get('details', '')}" for error in node["errors"]]
    return Ended("refused", "; ".join(words)[:300])


def ended_of(entry: dict[str, Any]) -> Ended:
    """What the history says of a prompt."""
    status = entry["status"]
    for kind, data in status["messages"]:
        if kind == "execution_interrupted":
            return Ended("interrupted")
        if kind == "execution_error":
            trace = "".join(data.get("traceback", ()))
            return Ended(
                "error",
                str(data["exception_message"]).strip(),
                any(place in trace for place in OWN),
                str(data.get("node_type", "")),
            )
    return Ended("success", outputs=entry["outputs"])


def flaw_of(ended: Ended) -> str | None:
    """Why a prompt's end is not right by itself: an error of ours that is no sentence, or a server that broke."""
    if ended.state in ("broken", "late", "gone", "lost"):
        return f"{ended.state} {ended.words}".strip()
    if ended.state == "error" and ended.own:
        flaw = sentence_flaw(ended.words)
        return None if flaw is None else f"{flaw} from {ended.node}: {ended.words[:200]!r}"
    return None


def with_prefix(graph: Graph, prefix: str) -> Graph:
    """A graph that saves under names of its own."""
    found: Graph = {}
    for name, node in graph.items():
        if node["class_type"] == "SaveImage":
            node = {**node, "inputs": {**node["inputs"], "filename_prefix": f"{prefix}_{name}"}}
        found[name] = node
    return found
