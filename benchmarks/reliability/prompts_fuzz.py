"""Hostile prompts over HTTP to a real ComfyUI: each is refused, ends in a sentence or in a result, and it works on."""

from __future__ import annotations

import random as randomness
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.comfyui.base_directory import BASE, MISLABELLED, PACKED, RANDOM, TRUNCATED
from tests.comfyui.graphs import (
    FILE_BUNDLED,
    decode,
    detail_sampler,
    empty_latent,
    load,
    load_model,
    lock_base,
    node,
    prompts,
    sampler,
    save,
)
from tests.comfyui.server import Graph
from tests.comfyui.tiny_models import ADAPTER, DAMAGED, MERGED

from .comfyui import Ended, Killable, flaw_of
from .jobs import DETAIL, JOINT, Job

Progress = Callable[[int, int], None]
SECONDS = 60
"""By the clock; what takes longer is ended and counts as late."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 8, 17, 64, 10**9, -(10**9), 2**63, 2**64, 10**30, 10**400, 0.0, -0.5, 1.5, 1e308,
    float("nan"), float("inf"), "", "x", "0", "1e9", "full", "draft", "euler", "default", "a" * 10_000,
    "<img src=x onerror=alert(1)>", "\x1b[2J\n", "../../../etc/passwd", "/etc/passwd", "..\\..\\x", "vae/../../x",
    "\x00", "\ud83d", [], {}, [[]], {"__value__": [1]}, ["vae", 0], ["vae", 99], ["vae", -1], ["vae", "0"],
    ["nobody", 0], ["latent", 0], ["model", 0], ["positive", 0], ["saved", 0], ["vae"], [0, 0],
    RANDOM, BASE, PACKED, TRUNCATED, MISLABELLED, MERGED, ADAPTER, DAMAGED,
)  # fmt: skip
"""Of every type, beyond every limit, files of other kinds, names that lead elsewhere, and links to anything."""


@dataclass
class Findings:
    """How the prompts ended, and which must not have ended so."""

    seed: int
    states: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    bad: list[str] = field(default_factory=list)
    not_ours: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """What is kept of a run."""
        return {
            "seed": self.seed,
            "prompts": sum(self.states.values()),
            "states": dict(sorted(self.states.items())),
            "server_started_again": self.starts,
            "wrong": len(self.bad),
        }


def fuzz_prompts(
    server: Killable, cases: int, seed: int, progress: Progress | None = None
) -> Findings:
    """Send `cases` hostile prompts, and after them one that must give the picture it gave before them.

    `server`: as `jobs.running_server` gives it.
    """
    found = Findings(seed)
    Job(0).write_picture(server.base)
    for graph in sound_graphs():
        if (ended := _ended(server, graph)).state != "success":
            raise RuntimeError(f"A sound prompt ended with {ended}: {graph}")
    before = _sound_picture(server, 0)
    outside = _outside(server.base)
    for number in range(cases):
        random = randomness.Random(f"{seed} {number}")
        words, prompt = hostile_prompt(random)
        ended = _ended(server, prompt)
        _note(found, number, words, ended)
        if ended.state in ("late", "lost"):
            server.kill()
            server.start()
            found.starts += 1
        if progress is not None:
            progress(number + 1, len(found.bad))
    if _sound_picture(server, 1) != before:
        found.bad.append("afterwards a sound prompt gave another picture")
    if new := _outside(server.base) - outside:
        found.bad.append(f"files were written outside the output folder: {sorted(new)}")
    return found


def _ended(server: Killable, prompt: Any) -> Ended:
    sent = server.submit(prompt)
    return sent if isinstance(sent, Ended) else server.follow(sent, SECONDS)


def _note(found: Findings, number: int, words: str, ended: Ended) -> None:
    not_ours = ended.state == "broken" or (ended.state == "error" and not ended.own)
    if not_ours:
        # The stock nodes' and the server's own errors are counted, and nothing here can mend them.
        found.states[f"ComfyUI's {ended.state}"] += 1
        found.not_ours[f"{ended.node} {ended.words[:80]}"] += 1
        return
    found.states["sentence" if ended.state == "error" else ended.state] += 1
    flaw = flaw_of(ended)
    if flaw is not None:
        found.bad.append(f"{number}: {words}: {flaw}")


def _sound_picture(server: Killable, number: int) -> str:
    graph = Job(0).graph()
    for name, found in graph.items():
        if found["class_type"] == "SaveImage":
            # Another name each time, or ComfyUI would give back what it has.
            found["inputs"]["filename_prefix"] = f"sound_{number}_{name}"
    ended = _ended(server, graph)
    if ended.state != "success" or not ended.outputs:
        raise RuntimeError(f"A sound prompt ended with {ended}.")
    images = [image for output in ended.outputs.values() for image in output.get("images", ())]
    return server.digest(next(image for image in images if image["type"] == "output"))


def _outside(base: Path) -> set[str]:
    """Every file of the server's folder that is no output."""
    kept = ("output", "temp", "user")
    return {
        path.relative_to(base).as_posix()
        for path in base.rglob("*")
        if path.relative_to(base).parts[0] not in kept and path.suffix != ".log"
    }


def sound_graphs() -> tuple[Graph, ...]:
    """Small prompts that go through every node of this project."""
    picture = {"picture": node("LoadImage", image=Job(0).picture)}
    drawn: Graph = {
        **prompts(),
        "model": load_model(FILE_BUNDLED, JOINT),
        "vae": load(FILE_BUNDLED),
        "latent": empty_latent(64, 64),
        "drawn": sampler(steps=4, cfg=1.0),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
    }
    split: Graph = {
        **drawn,
        "base": node("DAVAE_SplitLatent", samples=["drawn", 0]),
        "joined": node("DAVAE_JoinLatent", base=["base", 0], detail=["base", 1]),
        "locked": lock_base("model", "joined"),
        "again": sampler("locked", "joined", steps=1),
        "image": decode(samples=["again", 0]),
    }
    info: Graph = {"info": node("DAVAE_Inspect", file=f"vae/{RANDOM}")}
    encoded: Graph = {
        **picture,
        "vae": load(RANDOM),
        "small": node(
            "ImageScale",
            image=["picture", 0],
            upscale_method="bilinear",
            width=64,
            height=64,
            crop="center",
        ),
        "latent": node("DAVAE_Encode", image=["small", 0], vae=["vae", 0]),
        "image": decode(),
        "saved": save("image"),
    }
    detail: Graph = {
        **encoded,
        **prompts(),
        "vae": load(FILE_BUNDLED),
        "model": load_model(FILE_BUNDLED, DETAIL),
        "drawn": detail_sampler(steps=1),
        "image": decode(samples=["drawn", 0]),
    }
    return drawn, split, detail, info, encoded, Job(1).graph()


def hostile_prompt(random: randomness.Random) -> tuple[str, Any]:
    """One of `sound_graphs` with one to three things changed, and the words for that."""
    graph = random.choice(sound_graphs())
    words = []
    for _ in range(random.choice((1, 1, 2, 3))):
        graph, said = random.choice(CHANGES)(graph, random)
        words.append(said)
    return ", ".join(words), graph


def _one_of_ours(graph: Graph, random: randomness.Random) -> str:
    """The name of a node, ours four times out of five."""
    ours = [name for name, found in graph.items() if str(found["class_type"]).startswith("DAVAE")]
    return random.choice(ours if ours and random.random() < 0.8 else list(graph))


def _value(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    name = _one_of_ours(graph, random)
    inputs = graph[name]["inputs"]
    key = random.choice(list(inputs) or ["x"])
    value = random.choice(VALUES)
    return _with_inputs(graph, name, {**inputs, key: value}), f"{name}.{key} = {value!r:.60}"


def _gone(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    name = _one_of_ours(graph, random)
    inputs = dict(graph[name]["inputs"])
    key = random.choice(list(inputs) or ["x"])
    inputs.pop(key, None)
    return _with_inputs(graph, name, inputs), f"without {name}.{key}"


def _more(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    name = _one_of_ours(graph, random)
    key = random.choice(("extra", "self", "cls", "kwargs", "__class__", "prompt", ""))
    value = random.choice([value for value in VALUES if not _is_link(value)])
    inputs = {**graph[name]["inputs"], key: value}
    return _with_inputs(graph, name, inputs), f"{name}.{key} = {value!r:.60} too"


def _is_link(value: Any) -> bool:
    """Under a name that no input has, ComfyUI checks no link, and one to nowhere takes its worker with it."""
    return isinstance(value, list) and len(value) == 2


def _other_link(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    """A link to another node's output, as often as not of another type, or in a circle."""
    name = _one_of_ours(graph, random)
    inputs = graph[name]["inputs"]
    links = (
        [key for key, value in inputs.items() if isinstance(value, list)] or list(inputs) or ["x"]
    )
    key, link = random.choice(links), [random.choice(list(graph)), random.choice((0, 0, 1))]
    return _with_inputs(graph, name, {**inputs, key: link}), f"{name}.{key} from {link}"


def _other_type(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    name = _one_of_ours(graph, random)
    kinds = ["DAVAE_Nobody", "", "VAEDecode", "PreviewImage"]
    kind = random.choice([*kinds, *(str(found["class_type"]) for found in graph.values())])
    return {**graph, name: {**graph[name], "class_type": kind}}, f"{name} is a {kind}"


def _without_node(graph: Graph, random: randomness.Random) -> tuple[Graph, str]:
    name = random.choice(list(graph))
    left = {other: found for other, found in graph.items() if other != name}
    return left or graph, f"without {name}"


def _with_inputs(graph: Graph, name: str, inputs: dict[str, Any]) -> Graph:
    return {**graph, name: {**graph[name], "inputs": inputs}}


CHANGES: tuple[Callable[[Graph, randomness.Random], tuple[Graph, str]], ...] = (
    _value, _value, _value, _value, _gone, _more, _other_link, _other_link, _other_type, _without_node,
)  # fmt: skip
"""Whole nodes keep their `inputs`: without them ComfyUI 0.3.75 itself loses its worker."""
