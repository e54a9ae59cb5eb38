"""One index of a whole cache: it says what the shards' own say, and only as long as they say it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from davae_core.files import read_safetensors, write_safetensors
from tests.training.dit_fixtures import rewrite_shard, write_cache
from training.cache.config import CacheConfig
from training.cache.head import read_head
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.picture_table import is_sound, table_of
from training.cache.shard_files import CachedPicture, ShardIndex, read_index, shard_path
from training.cache.table_file import TABLE, read_table, write_table
from training.errors import TrainingError
from training.settings.yaml_config import read_config

SIZES = [(4, 4)] * 5 + [(4, 6)]


@pytest.fixture
def cache(tmp_path: Path, davae: Path) -> Path:
    folder = write_cache(tmp_path / "cached", davae, True, SIZES)
    write_table(folder, read_head(folder))
    return folder


def entries(folder: Path) -> list[CachedPicture]:
    indices = (read_index(path) for path in sorted(folder.glob("shard_*.safetensors")))
    return [picture for index in indices for picture in index.pictures]


def test_a_table_gives_the_pictures_back() -> None:
    pictures = (
        CachedPicture("a/ü.png", ("one", "zwei Bäume"), 4, 6, 1),
        CachedPicture("b.png", ("",), 2, 2, 3),
        CachedPicture("c.png", ("x",) * 3, 9, 2, 1),
    )
    table = table_of([(0, ShardIndex("", pictures[:1])), (5, ShardIndex("", pictures[1:]))])
    assert is_sound(table) and list(table) == list(pictures) and table[1:] == list(pictures[1:])
    assert table[-1] == pictures[2]
    with pytest.raises(IndexError):
        table[3]
    assert table.shards.tolist() == [0, 5, 5] and table.rows.tolist() == [0, 0, 1]
    assert [table.captions(n) for n in range(3)] == [2, 1, 3]
    assert table.caption(0, 1) == "zwei Bäume"


def test_a_cache_is_the_same_with_its_index_and_without(cache: Path, caplog) -> None:
    caplog.set_level("INFO")
    with_index = LatentCache(cache, in_memory=False)
    assert not caplog.messages
    (cache / TABLE).unlink()
    without = LatentCache(cache, in_memory=False)
    assert "reading the index of every shard" in caplog.text
    assert list(with_index.pictures) == list(without.pictures) == entries(cache)
    assert (with_index.pictures.looks == without.pictures.looks).all()
    for number in range(len(SIZES)):
        ours, theirs = with_index.read(number), without.read(number)
        assert (ours[0] == theirs[0]).all() and (ours[1].pooled == theirs[1].pooled).all()


def test_the_columns_are_mapped_and_no_copies(cache: Path) -> None:
    found = read_table(cache, read_head(cache))
    assert not any(
        column.flags.owndata for column in (found.table.rows, found.table.ends, found.table.text)
    )


def test_a_changed_shard_outdates_the_index_and_the_command_renews_it(
    cache_config, tmp_path: Path
) -> None:
    config, out = read_config(CacheConfig, cache_config()), tmp_path / "out"
    make_cache(config)
    head = read_head(out)
    before = (out / TABLE).read_bytes()
    assert read_table(out, head) is not None
    make_cache(config)
    assert (out / TABLE).read_bytes() == before
    (tmp_path / "captioned" / "3.txt").write_text("other words", encoding="utf-8")
    kept = (out / TABLE).stat().st_mtime_ns
    make_cache(config)
    assert (out / TABLE).stat().st_mtime_ns != kept
    found = LatentCache(out, in_memory=False).pictures
    assert "other words" in {picture.captions[0] for picture in found}
    index = shard_path(out, 0).with_suffix(".json")
    told = json.loads(index.read_text())
    told["pictures"][0]["captions"] = ["by hand"]
    index.write_text(json.dumps(told))
    assert read_table(out, read_head(out)) is None
    captions = {picture.captions[0] for picture in LatentCache(out, in_memory=False).pictures}
    assert "by hand" in captions


def test_a_shard_of_another_size_is_named(cache: Path) -> None:
    path = shard_path(cache, 1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TrainingError, match=r"has a damaged shard_00001\.safetensors"):
        LatentCache(cache, in_memory=False)
    path.unlink()
    with pytest.raises(TrainingError, match=r"lacks shard_00001\.safetensors"):
        LatentCache(cache, in_memory=False)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("ends", lambda held: held[:-1]),
        ("ends", lambda held: held.flip(0)),
        ("first", lambda held: held * 3),
        ("heights", lambda held: held * 0),
        ("heights", lambda held: held.float()),
        ("heights", lambda held: held.to(torch.float8_e5m2)),
        ("shards", lambda held: held + 7),
        ("rows", lambda held: held[:-1]),
        ("hashes", lambda held: held[:1]),
        ("of", lambda held: held + 1),
    ],
)
def test_an_index_that_does_not_hold_together_is_none(cache: Path, column: str, change) -> None:
    columns, told = read_safetensors(cache / TABLE)
    write_safetensors(
        cache / TABLE, {**columns, column: change(columns[column]).contiguous()}, told
    )
    assert read_table(cache, read_head(cache)) is None
    assert list(LatentCache(cache, in_memory=False).pictures) == entries(cache)


def test_an_index_of_another_kind_is_none(cache: Path) -> None:
    (cache / TABLE).write_bytes(b"no index")
    assert read_table(cache, read_head(cache)) is None


def test_a_table_of_numbers_of_every_size_is_sound() -> None:
    random = np.random.default_rng(0)
    pictures = tuple(
        CachedPicture(
            "n" * int(random.integers(1, 50)), ("c",) * int(random.integers(1, 5)), 1, 2, 3
        )
        for _ in range(200)
    )
    table = table_of([(0, ShardIndex("", pictures))])
    assert is_sound(table) and tuple(table) == pictures


def test_rewriting_a_shard_is_seen_through_the_index(cache: Path) -> None:
    rewrite_shard(shard_path(cache, 0), lambda tensors: tensors["latent.0"].zero_())
    assert read_table(cache, read_head(cache)) is None
    assert not LatentCache(cache, in_memory=False).read(0)[0].any()
