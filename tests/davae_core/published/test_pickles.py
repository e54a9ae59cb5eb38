import pickle
import random
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from davae_core.files import CheckpointError
from davae_core.published.pickles import read_plain_weights, refuse_unsafe_pytorch


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_mapped_file_holds_what_it_holds_when_it_is_read(as_zip, tmp_path):
    path, weights = tmp_path / "a.bin", {"state": {"a": torch.arange(6.0)}}
    torch.save(weights, path, _use_new_zipfile_serialization=as_zip)
    found = read_plain_weights(path, "x", mapped=True)["state"]["a"]
    assert torch.equal(found, weights["state"]["a"])


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("as_zip", [True, False])
def test_damage_anywhere_gives_weights_or_one_sentence(as_zip, mapped, tmp_path):
    whole, damaged = tmp_path / "whole.bin", tmp_path / "damaged.bin"
    torch.save({"a": torch.ones(3, 3)}, whole, _use_new_zipfile_serialization=as_zip)
    content, chance = whole.read_bytes(), random.Random(0)
    for _ in range(150):
        broken = bytearray(content[: chance.choice([len(content), chance.randrange(len(content))])])
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        damaged.write_bytes(broken)
        try:
            read_plain_weights(damaged, "a whole file", mapped)
        except CheckpointError as error:
            assert "damaged.bin" in str(error) and str(error).endswith("give a whole file.")


def test_foreign_pickles_bring_no_warnings(tmp_path):
    path = tmp_path / "foreign.bin"
    path.write_bytes(pickle.dumps({"a": 1, "run": print}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="never run"):
            read_plain_weights(path, "plain weights")


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("2.4.0", False), ("2.5.1+cu124", False), ("2.6.0", False), ("2.9.1+cpu", False), ("2.10.0a0+git", False),
        ("2.10.0rc1", False), ("", False), ("1.13", False), ("2.10.0", True), ("2.10.0+cu130", True), ("2.11.0", True),
        ("3.0.0", True),
    ],
)  # fmt: skip
def test_a_pytorch_that_pickles_can_harm_reads_none(version, safe):
    if safe:
        refuse_unsafe_pytorch(Path("a.bin"), version)
        return
    with pytest.raises(
        CheckpointError,
        match=r"^a\.bin is a pickle, .* update PyTorch to 2\.10 or later, or give .*\.$",
    ):
        refuse_unsafe_pytorch(Path("a.bin"), version)


def test_a_zip_that_unpacks_to_more_than_it_has_bytes_is_not_unpacked(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "whole.bin")
    packed = tmp_path / "packed.bin"
    with (
        zipfile.ZipFile(tmp_path / "whole.bin") as parts,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into,
    ):
        for name in parts.namelist():
            into.writestr(name, parts.read(name))
    assert packed.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=r"packed\.bin cannot be read as plain weights"):
        read_plain_weights(packed, "a whole file")
    assert read_plain_weights(tmp_path / "whole.bin", "x")["a"].shape == (10**6,)


@pytest.mark.parametrize("name", ["<b>", "a\nb", "\x1b[31m", "decoder.up_blocks." + "9" * 5000])
def test_a_name_that_no_model_gives_a_tensor_is_refused(tmp_path, name):
    torch.save({"state": {name: torch.zeros(1)}}, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        read_plain_weights(tmp_path / "a.bin", "a whole file")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(10**12), torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta")],
)
def test_a_tensor_that_is_not_simply_there_is_refused(tmp_path, tensor):
    torch.save({"state": [{"a": tensor}]}, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        read_plain_weights(tmp_path / "a.bin", "a whole file")
