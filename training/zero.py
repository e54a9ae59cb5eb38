"""Gradients and optimizer states spread over processes (ZeRO): accelerate's configuration asks, DeepSpeed does it.

Every process sums, clips and updates its own part of the trained weights, then all receive them whole. So weights,
averages and validation are what they are without DeepSpeed, and files hold whole tensors: a checkpoint can be resumed
with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DeepSpeedPlugin, is_deepspeed_available, parse_flag_from_env
from torch import Tensor, nn

from .checkpointing import Trained, as_kept
from .errors import TrainingError

REQUEST = "ACCELERATE_USE_DEEPSPEED"
"""What accelerate sets for a run that is launched with its DeepSpeed configuration."""


class ZeroModel(nn.Module):
    """A model in DeepSpeed's engine."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the model makes of the inputs."""
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
    """A trained module whose optimizer states lie in parts, one flat tensor for each group of parameters."""

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
        for part, parameters in self._groups():
            # DeepSpeed itself does this after the first group's first step, too early for the others.
            lazy_init_hp_params_optimizer_state(parameters, part, self.optimizer.state)
            for key, entry in self.optimizer.state.get(part, {}).items():
                spread = torch.is_tensor(entry) and entry.shape == part.shape
                for parameter in parameters:
                    tensor = safe_get_full_optimizer_state(parameter, key) if spread else entry
                    if keep:
                        found[f"{names[parameter]}/{key}"] = torch.as_tensor(tensor).cpu()
        return found

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimizer_tensors: Mapping[str, Tensor]) -> None:
        """Take back weights and whole states. Raises KeyError for another model's."""
        names = self.names()
        for parameter, name in names.items():
            parameter.copy_(weights[name])
        self.model.engine.optimizer.refresh_fp32_params()
        for part, parameters in self._groups():
            _load_group(part, parameters, names, self.optimizer, optimizer_tensors)

    def _groups(self) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
        """This process's part of each group, flat, and the group's parameters."""
        zero = self.model.engine.optimizer
        return zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True)


def zero_wanted(accelerator: Accelerator) -> bool:
    """Whether the run was launched with accelerate's DeepSpeed.

    Raises TrainingError for one process alone, and when DeepSpeed is not installed.
    """
    if not parse_flag_from_env(REQUEST):
        return False
    if accelerator.num_processes == 1:
        raise TrainingError(
            "The accelerate configuration asks for DeepSpeed, which needs two processes or more: raise num_processes, "
            "or launch without it."
        )
    if not is_deepspeed_available():
        raise TrainingError(
            "The accelerate configuration asks for DeepSpeed, but the package deepspeed is not installed: pip install "
            '"davae[train-deepspeed]", or launch with configs/accelerate/fsdp.yaml.'
        )
    return True


def partition(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    accumulate: int,
    clip_norm: float,
) -> ZeroTrained:
    """Spread the optimizer states and gradients of a module over all processes; every one must hold the same weights.

    Frozen weights keep their precision. Raises TrainingError for an accelerate configuration that asks for more.
    """
    settings = zero_settings(DeepSpeedPlugin())
    import deepspeed

    settings |= {
        "train_micro_batch_size_per_gpu": batch_size,
        "train_batch_size": batch_size * accumulate * torch.distributed.get_world_size(),
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": clip_norm,
        "zero_allow_untested_optimizer": True,
    }
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
    return ZeroTrained(module, optimizer, ZeroModel(engine))


def zero_settings(plugin: DeepSpeedPlugin) -> dict[str, Any]:
    """DeepSpeed's settings as accelerate's configuration has them. Raises TrainingError for what is not supported."""
    settings: dict[str, Any] = dict(plugin.deepspeed_config)
    zero = settings["zero_optimization"]
    if zero.get("stage") not in (1, 2):
        raise TrainingError(
            f"The accelerate configuration asks for ZeRO stage {zero.get('stage')}, but only 1 and 2 leave the weights "
            "whole, which checkpoints and averages need: set zero_stage to 2, or launch with "
            "configs/accelerate/fsdp.yaml, which spreads the weights too."
        )
    for part in ("offload_optimizer", "offload_param"):
        if zero.get(part, {}).get("device", "none") not in (None, "none"):
            raise TrainingError(
                f"The accelerate configuration sets {part}_device, which this trainer does not know: set it to none."
            )
    for section in ("optimizer", "scheduler", "fp16", "bf16", "torch_autocast", "amp"):
        if section in settings and settings[section].get("enabled", True):
            raise TrainingError(
                f"The DeepSpeed configuration has a section {section}, which the training's own file decides: leave it "
                "out."
            )
    return settings


def _load_group(
    part: nn.Parameter,
    parameters: list[nn.Parameter],
    names: Mapping[nn.Parameter, str],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
) -> None:
    """Cut this process's part of a group out of the whole states."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state, safe_set_full_optimizer_state

    first = f"{names[parameters[0]]}/"
    keys = [name.removeprefix(first) for name in tensors if name.startswith(first)]
    whole = [key for key in keys if tensors[first + key].ndim]
    for key in keys:
        spread = key in whole
        optimizer.state[part][key] = (
            torch.zeros_like(part) if spread else as_kept(tensors[first + key], part)
        )
    lazy_init_hp_params_optimizer_state(parameters, part, optimizer.state)
    for parameter in parameters:
        for key in whole:
            safe_set_full_optimizer_state(parameter, tensors[f"{names[parameter]}/{key}"], key)
