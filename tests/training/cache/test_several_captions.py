"""A picture may have several captions, of which every sample draws one."""

import json
from pathlib import Path

import pytest
import torch

from davae_core.files import read_safetensors
from tests.training.cache_fixtures import pack_captioned
from tests.training.dit_fixtures import copy_of
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.dit.batches import LatentBatches
from training.dit.train import train_dit
from training.settings.yaml_config import read_config

SEVERAL = ["a red circle", "one circle, red", "something round"]


@pytest.fixture
def config(cache_config, tmp_path: Path):
    """A configuration over five pictures, of which two have three captions; keywords change it."""

    def make(packed: bool = False, **changes):
        cache_config()
        folder = tmp_path / "captioned"
        for name, told in (("1", {"prompt": SEVERAL}), ("3", {"prompt": SEVERAL})):
            (folder / f"{name}.txt").unlink(missing_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(told))
        if packed:
            shard = pack_captioned(folder, tmp_path / "set.tar")
            changes |= {"source__folders": [], "source__shards": [str(shard)]}
        return read_config(CacheConfig, cache_config(**changes))

    return make


def by_name(cache: LatentCache):
    return {
        picture.name.rpartition("/")[2]: (picture, cache.read(number)[1])
        for number, picture in enumerate(cache.pictures)
    }


@pytest.mark.parametrize("packed", [False, True])
def test_a_list_in_a_json_is_several_captions_and_each_has_its_states(
    config, tmp_path: Path, packed: bool
) -> None:
    assert make_cache(config(packed)).pictures == 5
    found = by_name(LatentCache(tmp_path / "out", in_memory=False))
    picture, states = found["1.png"]
    assert picture.captions == tuple(SEVERAL)
    assert states.pooled.shape[0] == states.clip.shape[0] == 3
    assert len(torch.unique(states.pooled, dim=0)) == 3
    assert torch.equal(states.pooled, found["3.png"][1].pooled)
    assert found["0.png"][0].captions == ("a picture 0",)


def test_each_sample_draws_a_caption_that_depends_on_its_number_alone(
    config, tmp_path: Path
) -> None:
    make_cache(config())
    caches = [LatentCache(tmp_path / "out", in_memory=False)]
    states = {
        row.numpy().tobytes(): (name, which)
        for name, (_, text) in by_name(caches[0]).items() if name == "1.png"
        for which, row in enumerate(text.pooled)
    }  # fmt: skip
    data = LatentBatches(caches, 2, 7, caption_dropout=0.0)
    drawn = [
        states[row.numpy().tobytes()][1]
        for number in range(90)
        for row in data.batch(number).text.pooled
        if row.numpy().tobytes() in states
    ]
    assert all(drawn.count(which) > 12 for which in range(3))
    again = LatentBatches(caches, 2, 7, caption_dropout=0.0)
    for number in (11, 3):
        assert torch.equal(again.batch(number).text.pooled, data.batch(number).text.pooled)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "is empty"),
        (["a", " "], "is empty"),
        (["a", 5], "has no text under the key 'prompt'"),
        (["a"] * 101, "has 101 captions, more than 100"),
    ],
)
def test_a_list_that_holds_no_captions_is_left_out(
    config, tmp_path: Path, told: list[object], words: str
) -> None:
    wanted = config()
    (tmp_path / "captioned" / "1.json").write_text(json.dumps({"prompt": told}))
    assert words in make_cache(wanted).left_out["0/1.png"]


def test_one_more_caption_is_noticed(config, tmp_path: Path) -> None:
    wanted = config()
    make_cache(wanted)
    path = tmp_path / "captioned" / "1.json"
    path.write_text(json.dumps({"prompt": [*SEVERAL, "a fourth"]}))
    make_cache(wanted)
    assert by_name(LatentCache(tmp_path / "out", in_memory=False))["1.png"][1].pooled.shape[0] == 4


def test_a_training_over_several_captions_is_resumed_bit_for_bit(
    config, dit_config, tmp_path: Path, davae: Path
) -> None:
    make_cache(config())
    cache = str(tmp_path / "out")
    pooled = LatentCache(Path(cache), in_memory=False).empty_text().pooled.shape[-1]
    changes = {
        "data__caches": [cache], "validation__cache": copy_of(Path(cache)), "data__in_memory": False,
        "model__base": None, "model__train": "full", "train__steps": 4, "train__batch_size": 3,
        "model__sizes": {"blocks": 1, "pooled_width": pooled}, "validation__samples_every": 0,
    }  # fmt: skip
    train_dit(dit_config("whole", **changes))
    assert train_dit(dit_config("parted", **changes), stop_at=2) is None
    train_dit(dit_config("parted", **changes))
    one, other = (
        read_safetensors(tmp_path / name / "result.safetensors")[0] for name in ("whole", "parted")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)
