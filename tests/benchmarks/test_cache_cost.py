"""What the page on large caches says is measured on what is really written."""

from pathlib import Path

import pytest
import torch

from benchmarks import cache_cost
from benchmarks.cache_cost import KINDS, Kept, picture_bytes, relative_error, write_large_cache
from training.cache.latent_cache import LatentCache
from training.cache.table_file import TABLE


def test_a_picture_costs_what_its_tensors_take() -> None:
    latent, clip = 32 * 64 * 64 * 2, (77 + 1) * 2048 * 2
    costs = {kind.name: picture_bytes(kind) for kind in KINDS}
    for kind in KINDS:
        t5 = kind.t5_tokens * (4096 + 4 if kind.storage == "int8" else 4096 * 2)
        wanted = latent if kind.live else latent + clip + t5
        assert 0 <= costs[kind.name] - wanted < 1000
    assert picture_bytes(Kept("none", 0, "fp16")) < costs["77 tokens"]


def test_the_error_in_8_bits_follows_the_largest_channel() -> None:
    torch.manual_seed(0)
    flat = torch.randn(2, 8, 256)
    peaked = flat.clone()
    peaked[..., 3] *= 30
    errors = [relative_error(part, "int8") for part in (flat, peaked)]
    # A step is the largest channel over 127, and rounding is off by its share of a uniform number.
    for error, part in zip(errors, (flat, peaked), strict=True):
        step = part.abs().amax(-1, keepdim=True).expand_as(part) / 127
        assert error == pytest.approx(float(step.norm() / part.norm()) / 12**0.5, rel=0.1)
    assert errors[0] < errors[1] and relative_error(flat, "fp16") < errors[0] / 10


def test_the_cache_that_is_opened_is_one(tmp_path: Path) -> None:
    write_large_cache(tmp_path, 25, 10)
    assert (tmp_path / TABLE).is_file()
    cache = LatentCache(tmp_path, in_memory=False)
    assert len(cache.pictures) == 25
    assert not cache.read(24)[0].any()


def test_opening_is_measured_in_processes_of_their_own() -> None:
    found = cache_cost.opening(20)
    assert set(found) == {"shards", "index"}
    assert all(spent >= 0 for spent, _ in found.values())
