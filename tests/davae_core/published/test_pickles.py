import pickle
import random
import warnings

import pytest
import torch

from davae_core.files import CheckpointError
from davae_core.published.pickles import read_plain_weights


@pytest.mark.parametrize("as_zip", [True, False])
def test_damage_anywhere_gives_weights_or_one_sentence(as_zip, tmp_path):
    whole, damaged = tmp_path / "whole.bin", tmp_path / "damaged.bin"
    torch.save({"a": torch.ones(3, 3)}, whole, _use_new_zipfile_serialization=as_zip)
    content, chance = whole.read_bytes(), random.Random(0)
    for _ in range(150):
        broken = bytearray(content[: chance.choice([len(content), chance.randrange(len(content))])])
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        damaged.write_bytes(broken)
        try:
            read_plain_weights(damaged, "a whole file")
        except CheckpointError as error:
            assert "damaged.bin" in str(error) and str(error).endswith("give a whole file.")


def test_foreign_pickles_bring_no_warnings(tmp_path):
    path = tmp_path / "foreign.bin"
    path.write_bytes(pickle.dumps({"a": 1, "run": print}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="never run"):
            read_plain_weights(path, "plain weights")
