"""The processes of a run: how they start, wait for one another and agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    broadcast_object_list,
    parse_flag_from_env,
)

from ..errors import TrainingError
from .unhurried import show_life, unhurried

Found = TypeVar("Found")
LONGEST_WAIT = timedelta(minutes=10)
"""How long processes wait for one another while they work alike; longer only in `unhurried`."""
_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(device: str, precision: str) -> Accelerator:
    """accelerate for this process. Raises TrainingError for fp16 without a GPU, and for DeepSpeed."""
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise TrainingError(
            "The accelerate configuration asks for DeepSpeed, which this trainer does not know: launch with "
            "configs/accelerate/ddp.yaml, or to share the model among GPUs with fsdp.yaml."
        )
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if precision == "fp16" and on_cpu:
        raise TrainingError("train.precision is fp16, which needs a GPU: set it to bf16 or fp32.")
    accelerator = Accelerator(
        mixed_precision=_PRECISIONS[precision],
        cpu=device == "cpu",
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
            # No buffer of ours ever changes, and SD3.5's table of positions has 864 MiB, which DDP would send at every
            # step; gradients that are views of its buckets are not held twice.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
        ],
    )
    show_life()
    return accelerator


def make_state(device: str) -> PartialState:
    """accelerate's knowledge of this process and the others, for work without a model that learns."""
    state = PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT)
    show_life()
    return state


def any_process(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it."""
    if accelerator.num_processes == 1:
        return wish
    wishes = torch.tensor(float(wish), device=accelerator.device)
    return float(accelerator.reduce(wishes, reduction="sum")) > 0


def as_main_finds(accelerator: Accelerator | PartialState, find: Callable[[], Found]) -> Found:
    """What `find` gives in the main process, which alone calls it, in every process; they must all call this together.

    Raises TrainingError in every process where it does in the main one.
    """
    if accelerator.num_processes == 1:
        return find()
    told: list[Found | TrainingError | None] = [None]
    with unhurried():
        if accelerator.is_main_process:
            try:
                told = [find()]
            except TrainingError as error:
                told = [error]
    (found,) = broadcast_object_list(told)
    if isinstance(found, TrainingError):
        raise found
    return found  # type: ignore[no-any-return]
