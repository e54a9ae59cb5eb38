"""Shards stay open in the process that opened them, a bounded number of them, and give what the file holds."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from davae_core.files import CheckpointError, write_safetensors
from training.cache.open_shards import OpenShards


def shards(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.safetensors" for number in range(count)]
    for number, path in enumerate(paths):
        write_safetensors(path, {"a": torch.full((2,), number).half()}, {})
    return paths


def test_a_shard_is_opened_once_and_only_so_many_stay_open(tmp_path: Path) -> None:
    paths, held = shards(tmp_path, 4), OpenShards(most=2)
    first = held[paths[0]]
    assert held[paths[1]] is not first and held[paths[0]] is first
    for number, path in enumerate(paths):
        tensor = held[path].tensor("a")
        assert tensor.dtype == torch.float16 and tensor.tolist() == [number] * 2
        assert len(held) <= 2
    # The least lately used was closed, and is opened again when it is wanted.
    assert held[paths[0]] is not first and held[paths[0]].names == {"a"}


def test_a_pickle_and_a_fork_open_their_own(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, 1)
    held = OpenShards(most=3)
    ours = held[path]
    copy = pickle.loads(pickle.dumps(held))
    assert len(copy) == 0 and copy[path] is not ours
    child = os.fork()
    if not child:
        fresh = held[path]
        os._exit(0 if fresh is not ours and fresh.tensor("a").tolist() == [0, 0] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert held[path] is ours


def test_what_a_shard_lacks_is_one_sentence(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"0\.safetensors does not hold b: run"):
        OpenShards()[path].tensor("b")
