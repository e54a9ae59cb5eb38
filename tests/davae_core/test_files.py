import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from davae_core.files import (
    CheckpointError,
    read_safetensors,
    read_shapes,
    stream_safetensors,
    tensor_hash,
    value_hash,
    write_atomically,
    write_safetensors,
)


def test_what_is_written_is_read(tmp_path):
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4)}
    write_safetensors(tmp_path / "f.safetensors", tensors, {"note": "x"})
    read, metadata = read_safetensors(tmp_path / "f.safetensors")
    assert metadata == {"note": "x"}
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert read_shapes(tmp_path / "f.safetensors")[0] == {"a": ((2, 3), "F32"), "b": ((4,), "I64")}


def test_shared_and_strided_tensors_can_be_written(tmp_path):
    weight = torch.randn(4, 4)
    write_safetensors(tmp_path / "f.safetensors", {"a": weight, "b": weight, "c": weight.t()}, {})
    read, _ = read_safetensors(tmp_path / "f.safetensors")
    assert torch.equal(read["a"], read["b"]) and torch.equal(read["c"], weight.t())


PEAK = """
import resource, sys, torch
from davae_core.files import write_safetensors
whole = torch.ones(64 * 2**20)
views = {"first": whole[: 32 * 2**20], "second": whole[32 * 2**20 :]}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_safetensors(sys.argv[1], views, {})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_writing_does_not_copy_what_lies_in_memory_as_it_does_in_the_file(tmp_path):
    command = [sys.executable, "-c", PEAK, str(tmp_path / "f.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout) < 32 * 1024, "of 256 MiB, in KiB"


def test_a_type_that_the_format_lacks_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot hold a as .*: keep it in"):
        write_safetensors(tmp_path / "f.safetensors", {"a": torch.zeros(2).to(torch.complex64)}, {})
    assert list(tmp_path.iterdir()) == []


def damaged(kind: str, path: Path) -> None:
    save_file({"a": torch.zeros(64, 64)}, path)
    whole = path.read_bytes()
    if kind == "pickle":
        torch.save({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(
            {"empty": b"", "cut": whole[:-100], "cut header": whole[:20], "text": b"hello " * 9}[
                kind
            ]
        )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "is empty"),
        ("cut", "is cut short"),
        ("cut header", "is cut short"),
        ("text", "is not a safetensors file"),
        ("pickle", "is a pickle"),
    ],
)
def test_damaged_files_are_named_with_the_reason(tmp_path, kind, words):
    path = tmp_path / "model.safetensors"
    damaged(kind, path)
    with pytest.raises(CheckpointError, match=f"model.safetensors {words}") as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


def test_old_style_pickles_are_recognised_too(tmp_path):
    torch.save(
        {"a": torch.zeros(2)}, tmp_path / "x.safetensors", _use_new_zipfile_serialization=False
    )
    with pytest.raises(CheckpointError, match="is a pickle"):
        read_safetensors(tmp_path / "x.safetensors")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="does not exist or is not a file"):
            read_safetensors(path)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f.safetensors"
    write_safetensors(path, {"a": torch.ones(3)}, {})
    before = path.read_bytes()

    def fail(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["f.safetensors"]


FULL_DISK = """
import sys, torch
from davae_core.files import CheckpointError, write_safetensors
try:
    write_safetensors(sys.argv[1], {"a": torch.ones(100_000)}, {})
except CheckpointError as error:
    sys.exit(str(error))
"""


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path):
    path = tmp_path / "f.safetensors"
    write_safetensors(path, {"a": torch.ones(3)}, {})
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "the disk is full or a size limit was reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["f.safetensors"]


def kinds_of(tensors):
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def test_what_is_streamed_is_read(tmp_path):
    path, told = tmp_path / "f.safetensors", []
    tensors = {
        "strided": torch.arange(6).reshape(2, 3).t(),
        "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
        "half": torch.randn(3, 5).bfloat16(),
        "small": torch.randn(7).to(torch.float8_e4m3fn),
    }
    stream_safetensors(
        path, kinds_of(tensors), tensors.__getitem__, {"note": "é"}, lambda *n: told.append(n)
    )
    read, metadata = read_safetensors(path)
    assert metadata == {"note": "é"} and read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and read[name].shape == tensor.shape
        assert torch.equal(read[name].float(), tensor.float())
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert told[-1] == (total, total) and len(told) == len(tensors)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_a_stream_that_breaks_off_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"old")

    def tensor_of(name):
        if name == "b":
            raise error
        return torch.zeros(4)

    with pytest.raises(error):
        stream_safetensors(path, dict.fromkeys("ab", ((4,), torch.float32)), tensor_of, {})
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_tensor_of_another_kind_than_announced_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="a is not of the announced shape"):
        stream_safetensors(
            tmp_path / "f.safetensors",
            {"a": ((3,), torch.float32)},
            lambda name: torch.zeros(4),
            {},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist: create it"):
        write_safetensors(tmp_path / "no" / "f.safetensors", {"a": torch.ones(3)}, {})


def test_equal_weights_hash_equally_and_any_change_shows():
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
    same = {"b": torch.zeros(4), "a": torch.ones(3, 2).t()}
    assert tensor_hash(tensors) == tensor_hash(same)
    assert tensor_hash(tensors) != tensor_hash({"a": torch.ones(3, 2), "b": torch.zeros(4)})
    assert tensor_hash(tensors) != tensor_hash({"a": torch.ones(2, 3).half(), "b": torch.zeros(4)})


def test_values_hash_equally_in_every_dtype_that_holds_them():
    stored = {"a": torch.linspace(-1, 1, 7).half()}
    wider = {"a": stored["a"].float()}
    assert value_hash(stored) == value_hash(wider) == tensor_hash(wider)
    assert value_hash(stored) != value_hash({"a": torch.linspace(-1, 1, 7)})


def header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        header(b'{"a": 1}'),
        header(b'{"a": {"dtype": "F32"}}'),
        header(b"{ and no more", 0xF0_00_00_00_00),
        header(b"{" + b" " * 127, 0x80)[:60],
    ],
    ids=["number", "no offsets", "huge header", "cut, begins like a pickle"],
)
def test_foreign_headers_are_one_sentence(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not a safetensors file|is cut short") as caught:
        read_safetensors(path)
    assert "pickle" not in str(caught.value)
