"""The arithmetic of the training estimates, on sizes small enough to count by hand."""

import math
from dataclasses import replace

import pytest

from benchmarks import training_cost
from benchmarks.timing import in_turns, row
from benchmarks.training_cost import Job, Machine, Step
from benchmarks.training_kept import kept_bytes
from davae_core.codec.autoencoder import CodecConfig
from davae_core.codec.blocks import KLConfig
from davae_core.files import read_shapes
from davae_core.latents import LatentLayout
from training.cache.latent_cache import LatentCache
from training.dit.config import DitModelConfig, LoraConfig, NewSizesConfig

LAYOUT = LatentLayout(16, 16, 2, 2, 0.0, 1.0)
CODEC = CodecConfig(layout=LAYOUT, backbone=KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4))

MODEL = DitModelConfig(
    base="b",
    vae="v",
    sizes=NewSizesConfig(blocks=2, context_width=32, pooled_width=24, positions=64),
    lora=LoraConfig(rank=4, alpha=4),
)


@pytest.mark.parametrize("t5_tokens", [0, 256])
def test_a_cached_picture_takes_the_bytes_of_the_guides_formula(t5_tokens):
    latent, clip, pooled = 32 * 64 * 64 * 2, 77 * 2048 * 2, 2048 * 2
    tensors = latent + clip + pooled + t5_tokens * 4096 * 2
    # What is left is the header's share.
    assert 0 <= training_cost.picture_bytes(t5_tokens, 1024) - tensors < 1000


def test_the_base_without_weights_has_sd35_mediums_shapes(tmp_path):
    path = tmp_path / "base.safetensors"
    training_cost.write_empty_base(path)
    shapes, _ = read_shapes(path)
    assert sum(math.prod(shape) for shape, _ in shapes.values()) == 2_469_663_936
    assert path.stat().st_blocks * 512 < 2**24, "the file should take no room"


def test_the_cache_without_tensors_can_be_opened(tmp_path):
    training_cost.write_empty_cache(tmp_path / "cache", 256, 7)
    assert len(LatentCache(tmp_path / "cache", in_memory=False).pictures) == 7


def test_hours_are_operations_over_a_share_of_the_peak():
    machine = Machine("two", 2, 1e12)
    assert machine.hours(2 * 1e12 * training_cost.SHARE * 3600) == pytest.approx(1.0)
    (line,) = training_cost.jobs_table([Job("x", 1_000_000, 165e9 * training_cost.SHARE * 36)])[2:]
    assert line.startswith("| x | 1.8 | 1,000,000 | 10.0 | ")


def test_four_times_the_tokens_cost_four_times_the_linear_layers():
    small, large = (
        training_cost.stage2_operations(MODEL, LAYOUT, side, words=1) for side in (64, 128)
    )
    # A little less for the text and the modulations, a little more for attention.
    assert 3.5 < large / small < 8


def test_a_trained_trunk_and_another_target_cost_more():
    shared, own = CODEC, replace(CODEC, shared_trunk=False)
    frozen = training_cost.stage1_operations(shared, 64, base_target=False)
    assert training_cost.stage1_operations(own, 64, base_target=False) > frozen
    assert training_cost.stage1_operations(shared, 64, base_target=True) > frozen


def test_encoding_costs_what_the_codec_and_t5_cost():
    without = training_cost.cache_operations(CODEC, 64, 0)
    assert without > 0
    assert training_cost.cache_operations(CODEC, 64, 10) - without == 2 * 4.76e9 * 10


def test_recomputed_blocks_cost_operations_and_keep_less():
    every, none = (
        training_cost.stage2_operations(MODEL, LAYOUT, 64, words=1, recomputed=count)
        for count in (2, 0)
    )
    assert none < every
    assert training_cost.stage2_operations(MODEL, LAYOUT, 64, words=1) == every
    kept = [kept_bytes(MODEL, LAYOUT, 64, 1, count) for count in range(3)]
    assert kept[0] > kept[1] > kept[2]


def test_what_is_kept_grows_with_the_tokens_and_attention_is_no_table():
    small, large = (kept_bytes(MODEL, LAYOUT, side, 1) for side in (64, 128))
    # A table of attention would grow with the square of the tokens, to more than twice this.
    assert 3.5 < large / small < 4.5


def test_a_step_is_compared_with_the_published_one():
    step = Step("x", recomputed=9e12, whole=6e12, encoding=9e12, kept=(2**29, 2**31))
    (line,) = training_cost.steps_table([step])[2:]
    assert line == "| x | 18.00 | 9.00 (2.00x) | 6.00 (3.00x) | 0.50 GiB | 2.00 GiB |"


def test_ways_are_timed_in_turns_and_put_into_a_row():
    turns = []
    found = in_turns({"one": lambda: turns.append(1), "two": lambda: turns.append(2)}, rounds=2)
    assert turns == [1, 2] * 3 and set(found) == {"one", "two"}
    assert row("part", 0.2, 0.1) == "| part | 200.0 | 100.0 | 2.00x |"
