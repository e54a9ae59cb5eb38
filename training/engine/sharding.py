"""Weights spread over processes (FSDP): accelerate's configuration asks for it, torch's fully_shard does it.

Storage is what is sharded: weights, gradients, optimizer states and averages. Every block is gathered in its own
precision when it computes, so training computes what it computes unsharded, up to the order of sums. Files always hold
whole tensors, so a checkpoint can be resumed with and without sharding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import TrainingError


def sharding_wanted(accelerator: Accelerator) -> bool:
    """Whether the run was launched with accelerate's FSDP. Raises TrainingError for one process alone."""
    asked: bool = parse_flag_from_env("ACCELERATE_USE_FSDP")
    if asked and accelerator.num_processes == 1:
        raise TrainingError(
            "The accelerate configuration asks for FSDP, which needs two processes or more: raise num_processes, or "
            "launch without it."
        )
    return asked


def shard(accelerator: Accelerator, model: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Spread a model over all processes, in place and on to their devices; must come before its optimizer is built.

    Each of `blocks` is gathered on its own when it computes, what is left of the model at once. Every process must hold
    the same weights. Raises TrainingError for an accelerate configuration that asks for more than that.
    """
    settings = FullyShardedDataParallelPlugin()
    _check(settings)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=bool(settings.reshard_after_forward))


def release(model: nn.Module) -> None:
    """Let go of weights that are still gathered; without this a forward that no backward follows would leave some."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the shards of all processes, which must all call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory; all of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """The tensors whole, sharded ones on the CPU; empty where `keep` is false. All processes must call this together.

    One after another: no device ever holds more than one of them whole.
    """
    found = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor)
        if keep:
            found[name] = gathered.cpu() if isinstance(tensor, DTensor) else gathered
    return found


def spread_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor, which every process holds, on the device of `pattern` and sharded as that is."""
    tensor = tensor.to(pattern.device)
    if not isinstance(pattern, DTensor):
        return tensor
    # Without a source rank nothing is sent: each process cuts its own shard.
    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


def _check(settings: FullyShardedDataParallelPlugin) -> None:
    if settings.fsdp_version != 2:
        raise TrainingError(
            f"The accelerate configuration asks for FSDP version {settings.fsdp_version}, but only 2 keeps frozen bf16 "
            "and trained fp32 weights apart: set fsdp_version to 2, as configs/accelerate/fsdp.yaml does."
        )
    if settings.activation_checkpointing:
        raise TrainingError(
            "The accelerate configuration sets fsdp_activation_checkpointing: leave it out and set "
            "train.recomputed_blocks instead."
        )
    if parse_flag_from_env("FSDP_OFFLOAD_PARAMS"):
        raise TrainingError(
            "The accelerate configuration sets fsdp_offload_params, which this trainer does not know: leave it out."
        )
