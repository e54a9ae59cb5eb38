"""A run on two processes, started as a launcher starts them, so that a test can end one of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start_two(stage: str, config: Path) -> "list[subprocess.Popen[bytes]]":
    """Both processes of `python -m training STAGE CONFIG`, in the order of their ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_start(stage, config, rank, port) for rank in (0, 1)]


def _start(stage: str, config: Path, rank: int, port: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "training", stage, str(config)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
