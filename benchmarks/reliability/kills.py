"""kill -9 at many moments of every command that writes: no file half-written, and going on ends in the same bits."""

from __future__ import annotations

import gc
import json
import os
import random as randomness
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import save_base_vae
from training.engine.checkpoint_hashes import HASHES

from .files_fuzz import import_for, run_apart
from .isolation import Work
from .kinds import (
    SOURCES,
    command,
    copy_folder,
    dit_settings,
    train,
    write_picture,
    write_yaml,
)

Progress = Callable[[int, int], None]
OLD = b"an older file, which stays whole until the new one is"
_GROWING = ("log.jsonl", "stages.json")
_OF_THE_CLOCK = ("seconds", "seconds_left", "samples_per_second", "peak_gpu_gib")
"""Ends of the keys whose values no two runs share."""
"""Files that a whole run and half a run have in different lengths."""
_WRITING = os.O_WRONLY | os.O_RDWR
_EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
_LONGEST_DELAY = 0.05


@dataclass(frozen=True)
class Killable:
    """A command: the folder it works in, what it does there, and files that are there before and will be replaced."""

    name: str
    folder: str
    work: Work
    old: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """When a command is killed: at its n-th change of a file below its folder, or so many seconds after."""

    event: int
    delay: float


@dataclass(frozen=True)
class Killed:
    """What one kill left and what the same command then made of it; `faults` is empty where all is right."""

    command: str
    moment: Moment
    faults: tuple[str, ...]
    part_files: int = 0


@dataclass
class Findings:
    """All kills of a run."""

    seed: int
    kills: list[Killed] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> list[Killed]:
        """The kills that harmed something."""
        return [killed for killed in self.kills if killed.faults]

    def figures(self) -> dict[str, Any]:
        """What is kept of a run."""
        names = dict.fromkeys(killed.command for killed in self.kills)
        return {
            "seed": self.seed,
            "kills": len(self.kills),
            "commands": {name: sum(k.command == name for k in self.kills) for name in names},
            "half_written_at_the_kill": sum(killed.part_files for killed in self.kills),
            "wrong": len(self.bad),
        }


def kill_all(
    kills: int, seed: int, names: Sequence[str] = (), progress: Progress | None = None
) -> Findings:
    """Kill the commands in turn, `kills` times in all, each at a moment of its own; the same seed gives the same."""
    random = randomness.Random(seed)
    chosen = [found for found in COMMANDS if not names or found.name in names]
    found = Findings(seed)
    with tempfile.TemporaryDirectory(prefix="davae-kills-") as place:
        folder = Path(place)
        write_folders(folder / "sources", {killable.folder for killable in chosen})
        references = {}
        for killable in chosen[:kills]:
            import_for(
                killable.work, copy_folder(folder / "sources" / killable.folder, folder / "x")
            )
            shutil.rmtree(folder / "x")
        gc.freeze()
        for killable in chosen[:kills]:
            references[killable.name] = _reference(killable, folder)
            found.events[killable.name] = references[killable.name].events
        for number in range(kills):
            killable = chosen[number % len(chosen)]
            moment = _moment(references[killable.name].events, random)
            found.kills.append(kill_once(killable, moment, references[killable.name], folder))
            if progress is not None:
                progress(number + 1, len(found.bad))
    return found


def _moment(events: int, random: randomness.Random) -> Moment:
    """Any change of a file; as often as not a little after it, in the middle of whatever goes on there."""
    delay = random.uniform(0, _LONGEST_DELAY) if random.random() < 0.5 else 0.0
    return Moment(random.randint(1, events), delay)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run leaves, and how often it changes a file."""

    files: Mapping[str, bytes]
    events: int


def _reference(killable: Killable, folder: Path) -> Reference:
    place = _prepared(killable, folder)
    ended = run_until(killable.work, place, None)
    if ended.code != 0:
        raise RuntimeError(f"An undisturbed {killable.name} ended with {ended}.")
    files = contents(place)
    shutil.rmtree(place)
    return Reference(files, ended.events)


def _prepared(killable: Killable, folder: Path) -> Path:
    # The same place every time: some files hold the way to others.
    place = copy_folder(folder / "sources" / killable.folder, folder / "work")
    for old in killable.old:
        (place / old).write_bytes(OLD)
    return place


def kill_once(killable: Killable, moment: Moment, reference: Reference, folder: Path) -> Killed:
    """Kill a command, look at what is there, run it again to its end, and compare with the undisturbed run."""
    place = _prepared(killable, folder)
    ended = run_until(killable.work, place, moment)
    # A delay can outlast a short command; the change it was counted from is a moment too.
    if not ended.killed:
        shutil.rmtree(place)
        return kill_once(killable, replace(moment, delay=0.0), reference, folder)
    left = contents(place)
    faults = [
        f"{name} is neither old nor whole after the kill"
        for name, data in left.items()
        if name in reference.files and not _same(name, data, reference.files[name])
        and not (name in killable.old and data == OLD) and Path(name).name not in _GROWING
    ]  # fmt: skip
    parts = len(part_files(place))
    again = run_until(killable.work, place, None)
    if again.code != 0:
        faults.append(f"the command ended with {again} when it was run again")
    faults += _differences(contents(place), reference.files)
    faults += [f"{name} is left over" for name in part_files(place)]
    shutil.rmtree(place)
    return Killed(killable.name, moment, tuple(faults), parts)


def _differences(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[str]:
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} should not be there" for name in found if name not in wanted]
    faults += [
        f"{name} differs from the undisturbed run's"
        for name in found
        if name in wanted and not _same(name, found[name], wanted[name])
    ]
    return faults


def contents(place: Path) -> dict[str, bytes]:
    """Every file below a folder that has its final name, but for locks."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not _is_hidden(path.relative_to(place))
    }


def part_files(place: Path) -> list[str]:
    """Files and folders that a writer was not done with."""
    return [
        path.relative_to(place).as_posix()
        for path in sorted(place.rglob("*.part"))
    ]  # fmt: skip


def _is_hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts) or inside.suffix == ".lock"


def _same(name: str, found: bytes, wanted: bytes) -> bool:
    """Whether two files say the same, but for the time things took."""
    if found == wanted:
        return True
    try:
        return _without_times(name, found) == _without_times(name, wanted)
    except ValueError:
        return False


def _without_times(name: str, data: bytes) -> Any:
    """Raises ValueError for what holds no times."""
    inside = Path(name)
    if inside.suffix == ".json":
        return _timeless(json.loads(data))
    if inside.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in data.splitlines()]
    if inside.name == HASHES:
        # The state has times in it, and so its hash.
        return [line for line in data.splitlines() if not line.endswith(b"state.json")]
    raise ValueError(f"{name} holds no times")


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _timeless(part) for key, part in value.items() if not key.endswith(_OF_THE_CLOCK)
        }
    return [_timeless(part) for part in value] if isinstance(value, list) else value


# Running and killing


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or that it was killed; and how often it changed a file."""

    code: int | None
    killed: bool
    events: int


def run_until(work: Work, place: Path, moment: Moment | None) -> Ended:
    """Run `work` in a forked process in `place`; kill -9 it at a moment, if there is one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_watched(work, place, moment, writer)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as file:
        said = file.read(4)
        if said == _NOW and moment is not None:
            time.sleep(moment.delay)
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    events = int.from_bytes(said, "big") if said and said != _NOW else 0
    killed = os.WIFSIGNALED(status)
    return Ended(None if killed else os.WEXITSTATUS(status), killed, events)


_NOW = b"now!"


def _run_watched(work: Work, place: Path, moment: Moment | None, writer: int) -> None:
    code, watch = 70, _Watch(place, moment, writer)
    try:
        os.chdir(place)
        _silence()
        sys.addaudithook(watch)
        code = work() or 0
        os.write(writer, watch.events.to_bytes(4, "big"))
    finally:
        os._exit(code)


def _silence() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


@dataclass
class _Watch:
    """Counts the changes of files below a folder, and ends the process at one of them."""

    place: Path
    moment: Moment | None
    writer: int
    events: int = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if not (opened or event in _EVENTS) or not self._inside(arguments[0]):
            return
        self.events += 1
        if self.moment is None or self.events != self.moment.event:
            return
        if self.moment.delay:
            os.write(self.writer, _NOW)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _inside(self, path: object) -> bool:
        if not isinstance(path, (str, os.PathLike)):
            return False
        return os.path.abspath(os.fspath(path)).startswith(f"{self.place}{os.sep}")


# The commands


def write_folders(sources: Path, names: set[str]) -> None:
    """Write the folders of these names, in a process of its own."""

    def write() -> None:
        torch.set_num_threads(1)
        for name in sorted(names):
            (sources / name).mkdir(parents=True)
            FOLDERS[name](sources / name)

    run_apart(write)


def _for_vae(folder: Path) -> None:
    torch.manual_seed(3)
    backbone = KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4)
    save_base_vae(folder / "base.safetensors", KLAutoencoder(backbone, 4), shift=0.25, scale=2.0)
    for number in range(6):
        part = folder / ("train" if number < 4 else "held_out")
        part.mkdir(exist_ok=True)
        write_picture(part / f"{number}.png", 40, number)
    write_yaml(folder / "vae.yaml", _vae_settings())


def _vae_settings() -> dict[str, Any]:
    return {
        "model": {
            "kind": "davae", "preset": "mini", "base_vae": "base.safetensors", "init": "torch",
            "sizes": {
                "widths": [8, 8], "res_blocks": 1, "norm_groups": 4, "base_channels": 4, "detail_channels": 4,
            },
        },
        "data": {"train": ["train"], "crop": 16, "window": "pixels", "scale": [0.8, 1.2]},
        "loss": {"mse": 1.0},
        "optimizer": {"kind": "muon", "learning_rate": 1e-3},
        "train": {"steps": 6, "batch_size": 2, "device": "cpu", "seed": 5, "statistics_samples": 4},
        "validation": {"folders": ["held_out"], "every": 3, "pictures": 2, "size": 32, "side_by_side": 1},
        "output": {
            "folder": "run", "name": "result", "checkpoint_every": 2, "log_every": 1, "keep": 9, "tensorboard": False,
        },
    }  # fmt: skip


def _for_dit(folder: Path) -> None:
    SOURCES["trained"](folder)
    settings = dit_settings("base_transformer.safetensors", "davae.safetensors", steps=4)
    settings["output"]["keep"] = 9
    write_yaml(folder / "dit.yaml", settings)


def _for_mini(folder: Path) -> None:
    """Everything is in the settings and in the bundled files."""


_TINY = (
    "train.steps=2",
    "train.batch_size=2",
    "validation.pictures=1",
    "validation.sampling_steps=1",
)
_MINI = (
    "scenes:training=4", "scenes:held_out=2", "scenes:size=64",
    *(f"cache_base{which}:images.side=32" for which in ("", "_val")),
    *(f"cache_davae{which}:images.side=64" for which in ("", "_val")),
    "adapter:loss.ramp_steps=2",
    *(f"{stage}:{change}" for stage in ("transformer", "adapter", "detail") for change in _TINY),
)  # fmt: skip

FOLDERS: dict[str, Callable[[Path], None]] = {
    "vae": _for_vae,
    "dit": _for_dit,
    "mini": _for_mini,
    **{name: SOURCES[name] for name in ("codecs", "transformers", "captioned")},
}
COMMANDS = (
    Killable(
        "encode", "codecs",
        command("encode", "picture.png", "--vae", "codec.safetensors", "-o", "out.safetensors"),
        ("out.safetensors",),
    ),
    Killable(
        "merge", "transformers",
        command("merge", "base.safetensors", "adapter.safetensors", "-o", "out.safetensors"),
        ("out.safetensors",),
    ),
    Killable(
        "convert", "transformers",
        command("convert", "step_4321.pt", "--base", "base.safetensors", "--weights", "ema", "-o", "out.safetensors"),
        ("out.safetensors",),
    ),
    Killable("cache", "captioned", train("cache", "folder.yaml")),
    Killable("vae", "vae", train("vae", "vae.yaml")),
    Killable("dit", "dit", train("dit", "dit.yaml")),
    Killable(
        "mini", "mini",
        train("mini", "made", "--from-bundled-codec", *(word for change in _MINI for word in ("--set", change))),
    ),
)  # fmt: skip
"""Every command that writes more than pictures: the short ones over an older file, the long ones going on."""
