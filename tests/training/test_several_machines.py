"""Launchers as on several machines, here on one: the processes that each starts find one another at an address."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.settings.yaml_config import read_config

ROOT = Path(__file__).parents[2]
PATIENCE = 600


def launch(config: Path, machine: int, port: int) -> "subprocess.Popen[str]":
    """What docs/scaling.md says to run on each of two machines, with one process a machine."""
    where = ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    count = ["--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(machine)]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *count, *where, "-m", "training", "cache", str(config)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_launchers_make_the_cache_of_one_process(cache_config: Any, tmp_path: Path) -> None:
    make_cache(read_config(CacheConfig, cache_config(output__folder=str(tmp_path / "alone"))))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = cache_config()
    launchers = [launch(config, machine, port) for machine in (0, 1)]
    try:
        told = [launcher.communicate(timeout=PATIENCE)[0] for launcher in launchers]
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.wait()
    assert all("5 pictures in" in words for words in told)
    ours, alone = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("out", "alone")
    )
    assert ours == alone
