"""Work on two processes without paying for two starts of Python: forks that meet over gloo."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import distributed
from torch.multiprocessing import start_processes

from training.dit.config import DitTrainingConfig
from training.dit.train import train_dit
from training.settings.yaml_config import read_config


def on_two_processes(work: Callable[..., None], *arguments: Any, **environment: str) -> None:
    """`work(*arguments)` in two processes that accelerate takes for its own; `environment` as it launches them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(_enter, (work, arguments, port, environment), nprocs=2, start_method="fork")


def train(config: Path, stop_at: int | None = None) -> None:
    """Stage 2, as `python -m training dit` runs it."""
    train_dit(read_config(DitTrainingConfig, config), stop_at)


def _enter(
    rank: int,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    port: int,
    environment: dict[str, str],
) -> None:
    os.environ.update(
        environment,
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    # Threads do not survive a fork.
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    work(*arguments)
    distributed.destroy_process_group()
