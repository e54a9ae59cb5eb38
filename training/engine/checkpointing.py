"""Checkpoints of a run: written beside and renamed, kept to a limit, resumed exactly."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from davae_core.disk.leftovers import beside, remove_left_overs
from davae_core.disk.syncing import sync_folder
from davae_core.files import CheckpointError, read_safetensors, write_safetensors, write_text
from davae_core.format import check_weights
from davae_core.reading.json_text import read_json
from davae_core.reading.plain_text import is_plain, plain
from davae_core.reading.typed import Limits, build

from ..errors import TrainingError
from .checkpoint_hashes import HASHES, damage_of, write_hashes
from .ema import WeightAverage
from .sharding import gather, spread_like

_LOG = logging.getLogger(__name__)
MODEL = "model"
"""The part whose averaged weights are the result."""
_STATE = "state.json"
_DIGITS = 8
_EARLIER_NAMES = {"first": "exp_avg", "second": "exp_avg_sq", "count": "step"}
"""AdamW's states as checkpoints before PyTorch's own optimizer called them."""


@dataclass
class RunState:
    """What a run is besides its weights: how far it is, what it has used up, and what it was started with.

    `latents` says of each cache what its latents and texts are; it is empty in stage 1 and in older checkpoints.
    """

    step: Annotated[int, Limits(0)] = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    average_updates: Annotated[int, Limits(0)] = 0
    samples_per_step: Annotated[int, Limits(0)] = 0
    pictures: str = ""
    frozen: str = ""
    latents: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    skipped_steps: int = 0
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A trained module with its optimizer."""

    module: nn.Module
    optimizer: torch.optim.Optimizer

    def names(self) -> dict[Tensor, str]:
        """Trainable parameters and their names."""
        return {
            value: name for name, value in self.module.named_parameters() if value.requires_grad
        }

    def weights(self) -> dict[str, Tensor]:
        """Trainable parameters by name."""
        return {name: value.detach() for value, name in self.names().items()}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state, one tensor per parameter name and state name; counts of steps become tensors too."""
        names = self.names()
        return {
            f"{names[value]}/{key}": torch.as_tensor(entry)
            for value, state in self.optimizer.state.items()
            for key, entry in state.items()
        }

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimizer_tensors: Mapping[str, Tensor]) -> None:
        """Take back what `weights` and `optimizer_tensors` gave. Raises KeyError for another model's."""
        by_name = {name: value for value, name in self.names().items()}
        for name, value in by_name.items():
            value.copy_(spread_like(weights[name], value))
        fused = {
            value
            for group in self.optimizer.param_groups
            if group.get("fused")
            for value in group["params"]
        }
        for name, tensor in optimizer_tensors.items():
            owner, _, key = name.rpartition("/")
            value = by_name[owner]
            if key in _EARLIER_NAMES:
                key, tensor = _EARLIER_NAMES[key], tensor.float()
            self.optimizer.state[value][key] = _as_kept(tensor, value, value in fused)


@dataclass(frozen=True)
class Contents:
    """The tensors of a checkpoint, whole: weights and optimizer states by part, and the averages.

    `untrained` goes into results alone.
    """

    weights: dict[str, dict[str, Tensor]]
    optimizers: dict[str, dict[str, Tensor]]
    average: dict[str, Tensor]
    untrained: dict[str, Tensor] = field(default_factory=dict)


def collect(average: WeightAverage, parts: Mapping[str, Trained], keep: bool = True) -> Contents:
    """What a checkpoint holds now, or where `keep` is false empty; sharded processes must all call this together."""
    return Contents(
        {name: gather(part.weights(), keep) for name, part in parts.items()},
        {name: gather(part.optimizer_tensors(), keep) for name, part in parts.items()},
        gather(average.means, keep),
    )


def _as_kept(tensor: Tensor, parameter: Tensor, fused: bool) -> Tensor | int:
    """An entry of a checkpoint as the optimizer keeps it for a parameter."""
    if tensor.ndim:
        return spread_like(tensor, parameter)
    # bitsandbytes counts steps in whole numbers; PyTorch in a tensor, on the CPU unless the update is fused.
    if not tensor.is_floating_point():
        return int(tensor)
    return tensor.to(parameter.device) if fused else tensor


class CheckpointFolder:
    """The checkpoints of one run, `step_<n>` folders below `folder`, the newest `keep` of them.

    What was put beside an older one stays in its folder: results are small, and an earlier one may be the better.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        found = self._complete()
        return found[-1] if found else None

    def newest_whole(self) -> Path | None:
        """The newest checkpoint whose files are those that were written, None when there is no checkpoint at all.

        Damaged newer ones are set aside under another name, and the log says so. Raises TrainingError, and sets nothing
        aside, when no checkpoint is whole.
        """
        damaged: dict[Path, str] = {}
        for checkpoint in reversed(self._complete()):
            if reason := _damage(checkpoint):
                damaged[checkpoint] = reason
                continue
            for newer, why in damaged.items():
                _set_aside(newer, why, checkpoint)
            return checkpoint
        if damaged:
            newest, why = next(iter(damaged.items()))
            raise TrainingError(
                f"No checkpoint in {self.folder} is whole (of {newest.name}, {why}): remove that folder to start anew, "
                "or choose another output.folder."
            )
        return None

    def save(self, state: RunState, contents: Contents) -> Path:
        """Write a checkpoint, hashes of its files in it, wait for the disk, then thin out the oldest beyond the limit.

        Raises TrainingError when it cannot be written; earlier checkpoints stay.
        """
        target = self.folder / f"step_{state.step:0{_DIGITS}d}"
        part = beside(target)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_left_overs(self.folder)
            part.mkdir()
            _write(part, state, contents)
            _put(part, target)
        except (CheckpointError, OSError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise TrainingError(
                f"The checkpoint {target} could not be written ({_reason(error)}); earlier checkpoints are untouched: "
                "free some room and run the same command again."
            ) from error
        for old in self._complete()[: -self.keep]:
            _thin_out(old)
        return target

    def _complete(self) -> list[Path]:
        found = self.folder.glob("step_" + "[0-9]" * _DIGITS)
        return sorted(path for path in found if _was_finished(path))


def read_state(checkpoint: Path) -> RunState:
    """The state stored in a checkpoint. Raises TrainingError when it is damaged."""
    try:
        state = build(RunState, read_json(checkpoint / _STATE))
        if not all(is_plain(name) and name == Path(name).name for name in state.files):
            raise ValueError("files are named that are none of its own")
        return state
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"The checkpoint {checkpoint} has a damaged {_STATE}: remove that folder to resume from the one before."
        ) from error


def load_checkpoint(
    checkpoint: Path, average: WeightAverage, parts: Mapping[str, Trained]
) -> RunState:
    """Put a checkpoint's weights, averages and optimizer states back in place and return its state.

    Raises CheckpointError or TrainingError, one sentence, when it is damaged or of another model.
    """
    state = read_state(checkpoint)
    for name in state.files:
        if not (checkpoint / name).is_file():
            raise TrainingError(
                f"The checkpoint {checkpoint} lacks {plain(name)}: remove that folder to resume from the one before."
            )
    try:
        for name, part in parts.items():
            weights, _ = read_safetensors(checkpoint / f"{name}.safetensors")
            check_weights(checkpoint / f"{name}.safetensors", weights)
            part.load(weights, _read_optimizer(checkpoint / f"{name}_optimizer.safetensors"))
        means, _ = read_safetensors(checkpoint / "average.safetensors")
        check_weights(checkpoint / "average.safetensors", means)
        for name, mean in average.means.items():
            mean.copy_(spread_like(means[name], mean))
    except CheckpointError as error:
        raise TrainingError(
            f"The checkpoint {checkpoint} is damaged ({_without_advice(error)}): remove that folder to resume from the "
            "one before."
        ) from error
    except (LookupError, RuntimeError, TypeError) as error:
        raise TrainingError(
            f"The checkpoint {checkpoint} belongs to another model ({plain(str(error))}): choose another output.folder."
        ) from error
    average.updates = state.average_updates
    return state


def _read_optimizer(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path)[0] if path.is_file() else {}


def _write(folder: Path, state: RunState, contents: Contents) -> None:
    for name, weights in contents.weights.items():
        write_safetensors(folder / f"{name}.safetensors", weights, {})
        # A discriminator that has not started has no optimizer state, and safetensors no empty file.
        if moments := contents.optimizers[name]:
            write_safetensors(folder / f"{name}_optimizer.safetensors", moments, {})
    write_safetensors(folder / "average.safetensors", contents.average, {})
    state.files = sorted(path.name for path in folder.iterdir())
    write_text(folder / _STATE, json.dumps(vars(state), indent=1))
    write_hashes(folder)


def _put(part: Path, target: Path) -> None:
    """Give a finished checkpoint its name; one that has it already goes only then."""
    before = beside(target)
    if target.exists():
        target.rename(before)
    part.rename(target)
    sync_folder(target.parent)
    if before.exists():
        shutil.rmtree(before)


def _thin_out(checkpoint: Path) -> None:
    """Remove what only going on from a checkpoint needs, and the folder if that leaves it empty."""
    try:
        own = read_state(checkpoint).files
    except TrainingError:
        shutil.rmtree(checkpoint)
        return
    # The state last: whoever is killed in here finds it, and finishes with the next checkpoint.
    for name in (*own, HASHES, _STATE):
        (checkpoint / name).unlink(missing_ok=True)
    if not any(checkpoint.iterdir()):
        checkpoint.rmdir()


def _was_finished(folder: Path) -> bool:
    """Whether this was a checkpoint once, whatever a disk may have lost of it since."""
    return any((folder / name).is_file() for name in (_STATE, HASHES))


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, as a reason."""
    if reason := damage_of(checkpoint):
        return reason
    try:
        missing = [
            name for name in read_state(checkpoint).files if not (checkpoint / name).is_file()
        ]
    except TrainingError:
        return f"{_STATE} cannot be read"
    return f"{missing[0]} is missing" if missing else None


def _set_aside(damaged: Path, reason: str, whole: Path) -> None:
    aside = damaged.with_name(f"{damaged.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    damaged.rename(aside)
    _LOG.warning(
        "the checkpoint %s is damaged (%s): going on from the one before it, %s; it is called %s now, remove that "
        "folder once you have seen it",
        damaged,
        reason,
        whole.name,
        aside.name,
    )


def _without_advice(error: CheckpointError) -> str:
    """What a file's error says is wrong, without what it says to do, which of a checkpoint's file is another thing."""
    return str(error).rpartition(": ")[0] or str(error)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or str(cause)
