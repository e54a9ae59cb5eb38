"""Gradients and optimizer states spread over processes (ZeRO): accelerate's configuration asks, DeepSpeed does it.

Every process sums, clips and updates its own part of the trained weights, then all receive them whole. So weights,
averages and validation are what they are without DeepSpeed, and files hold whole tensors: a checkpoint can be resumed
with and without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DeepSpeedPlugin, is_deepspeed_available, parse_flag_from_env
from torch import Tensor, nn

from ..errors import TrainingError
from .checkpointing import Trained, as_kept

REQUEST = "ACCELERATE_USE_DEEPSPEED"
"""What accelerate sets for a run that is launched with its DeepSpeed configuration."""

_REDUCED_AT_ONCE = 20_000_000
"""Gradients that are summed together: 80 MB. DeepSpeed's own number, 25 times this, would outweigh what is shared."""
# What the training decides is written over these.
_KNOWN = frozenset(
    {
        "zero_optimization",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "steps_per_print",
    }
)
_KNOWN_OF_ZERO = frozenset(
    {
        "stage",
        "reduce_bucket_size",
        "allgather_bucket_size",
        "overlap_comm",
        "reduce_scatter",
        "contiguous_gradients",
        "offload_optimizer",
        "offload_param",
        "stage3_gather_16bit_weights_on_model_save",
    }
)


class ZeroModel(nn.Module):
    """A model in DeepSpeed's engine."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the model makes of the inputs, in the training's precision."""
        output: Tensor = self.engine(*inputs)
        return output

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the loss's gradients to those of the step, of which this is the `last` or not."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self) -> Tensor:
        """Clip and update, unless a gradient is not finite; their norm before, infinite if nothing was updated."""
        self.engine.step()
        return torch.as_tensor(self.engine.get_global_grad_norm(), dtype=torch.float32)


@dataclass(frozen=True)
class ZeroTrained(Trained):
    """A trained module whose optimizer states are spread: of each group of parameters a process has one flat piece."""

    model: ZeroModel

    def accelerated_optimizer(self) -> AcceleratedOptimizer:
        """The optimizer for whoever sets its rates; its steps are the engine's."""
        from accelerate.utils import DeepSpeedOptimizerWrapper

        return DeepSpeedOptimizerWrapper(self.model.engine.optimizer)

    def whole_optimizer_tensors(self, keep: bool) -> dict[str, Tensor]:
        """The state of every parameter, gathered one after another; all processes must call this together."""
        from deepspeed.utils import (
            lazy_init_hp_params_optimizer_state,
            safe_get_full_optimizer_state,
        )

        names, found = self.names(), {}
        for piece, parameters in self._groups():
            # DeepSpeed itself does this after the first group's first step, too early for the others.
            lazy_init_hp_params_optimizer_state(parameters, piece, self.optimizer.state)
            for key, entry in self.optimizer.state.get(piece, {}).items():
                spread = torch.is_tensor(entry) and entry.shape == piece.shape
                for parameter in parameters:
                    tensor = safe_get_full_optimizer_state(parameter, key) if spread else entry
                    if keep:
                        found[f"{names[parameter]}/{key}"] = torch.as_tensor(tensor).cpu()
        return found

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimizer_tensors: Mapping[str, Tensor]) -> None:
        """Take back weights and whole states. Raises KeyError for another model's."""
        for parameter, name in self.names().items():
            parameter.copy_(weights[name])
        self.model.engine.optimizer.refresh_fp32_params()
        for piece, parameters in self._groups():
            self._load_group(piece, parameters, optimizer_tensors)

    def _load_group(
        self, piece: Tensor, parameters: list[nn.Parameter], tensors: Mapping[str, Tensor]
    ) -> None:
        """Cut this process's piece of a group out of the whole states."""
        from deepspeed.utils import (
            lazy_init_hp_params_optimizer_state,
            safe_set_full_optimizer_state,
        )

        names = self.names()
        first = f"{names[parameters[0]]}/"
        entries = {
            name.removeprefix(first): entry
            for name, entry in tensors.items()
            if name.startswith(first)
        }
        spread = [key for key, entry in entries.items() if entry.ndim]
        for key, entry in entries.items():
            kept = torch.zeros_like(piece) if key in spread else as_kept(entry, parameters[0])
            self.optimizer.state[piece][key] = kept
        lazy_init_hp_params_optimizer_state(parameters, piece, self.optimizer.state)
        for parameter in parameters:
            for key in spread:
                safe_set_full_optimizer_state(parameter, tensors[f"{names[parameter]}/{key}"], key)

    def _groups(self) -> Iterator[tuple[Tensor, list[nn.Parameter]]]:
        """This process's piece of each group, and the group's parameters."""
        spread = self.model.engine.optimizer
        return zip(spread.single_partition_of_fp32_groups, spread.bit16_groups, strict=True)


def zero_wanted(accelerator: Accelerator) -> bool:
    """Whether the run was launched with accelerate's DeepSpeed.

    Raises TrainingError for one process alone, and when DeepSpeed is not installed.
    """
    if not parse_flag_from_env(REQUEST):
        return False
    if not is_deepspeed_available():
        raise TrainingError(
            "The accelerate configuration asks for DeepSpeed, but the package deepspeed is not installed: pip install "
            '"davae[train-deepspeed]", or launch with configs/accelerate/fsdp.yaml.'
        )
    if accelerator.num_processes == 1:
        raise TrainingError(
            "The accelerate configuration asks for DeepSpeed, which needs two processes or more: raise num_processes, "
            "or launch without it."
        )
    return True


def partition(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    accumulate: int,
    clip_norm: float,
) -> ZeroTrained:
    """Spread a module's gradients and optimizer states over all processes, which must hold the same weights.

    Frozen weights keep their precision. Raises TrainingError for an accelerate configuration that asks for more.
    """
    settings = zero_settings() | {
        "train_micro_batch_size_per_gpu": batch_size,
        "train_batch_size": batch_size * accumulate * accelerator.num_processes,
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": clip_norm,
        "zero_allow_untested_optimizer": True,
        # It would make the GPU wait at every step.
        "timers": {"throughput": {"enabled": False}},
    }
    if accelerator.device.type == "cpu":
        # DeepSpeed would take a GPU where there is one.
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    _speak_on_stderr(deepspeed.utils.logger)
    computed = _InPrecision(module, accelerator)
    engine, *_ = deepspeed.initialize(model=computed, optimizer=optimizer, config=settings)
    return ZeroTrained(module, optimizer, ZeroModel(engine))


def zero_settings() -> dict[str, Any]:
    """DeepSpeed's settings as accelerate's configuration has them. Raises TrainingError for what is not supported."""
    try:
        settings: dict[str, Any] = dict(DeepSpeedPlugin().deepspeed_config)
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"The DeepSpeed configuration cannot be read ({error}): mend it, or launch with "
            "configs/accelerate/deepspeed.yaml."
        ) from error
    zero = settings["zero_optimization"] = dict(settings["zero_optimization"])
    _check_known(settings, _KNOWN, "")
    _check_known(zero, _KNOWN_OF_ZERO, "zero_optimization.")
    for offload in ("offload_optimizer", "offload_param"):
        device = (zero.pop(offload, None) or {}).get("device")
        if device not in (None, "none"):
            raise TrainingError(
                f"The accelerate configuration sets {offload}_device to {device}, which this trainer does not know: "
                "set it to none."
            )
    _check_stage(zero.get("stage"))
    zero.setdefault("reduce_bucket_size", _REDUCED_AT_ONCE)
    return settings


class _InPrecision(nn.Module):
    """A model that computes in the training's precision; the engine would end an autocast that is begun outside it."""

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        super().__init__()
        self.model, self._accelerator = model, accelerator

    def forward(self, *inputs: Tensor) -> Tensor:
        with self._accelerator.autocast():
            output: Tensor = self.model(*inputs)
        return output


def _check_known(settings: Mapping[str, Any], known: Collection[str], place: str) -> None:
    for name in settings:
        if name not in known:
            raise TrainingError(
                f"The DeepSpeed configuration sets {place}{name}, which this trainer does not know or the training's "
                "own file decides: leave it out."
            )


def _check_stage(stage: object) -> None:
    if stage == 3:
        raise TrainingError(
            "The accelerate configuration asks for ZeRO stage 3, which spreads the weights too: set zero_stage to 2, "
            "or launch with configs/accelerate/fsdp.yaml, which does that."
        )
    if stage not in (1, 2):
        raise TrainingError(
            f"The accelerate configuration asks for ZeRO stage {stage}, which spreads nothing: set zero_stage to 2, or "
            "launch with configs/accelerate/ddp.yaml."
        )


def _speak_on_stderr(logger: logging.Logger) -> None:
    """Standard output is for results."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
