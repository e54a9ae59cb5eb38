"""A cache is made again where its pictures or captions changed, and grows with its source."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davae_core.files import file_hash
from tests.training.cache_fixtures import pack_captioned
from training.__main__ import main
from training.cache.caption_sources import scan_captioned
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import CacheReport, make_cache
from training.cache.shard_files import ShardIndex, read_index, shard_path
from training.cache.shard_plan import plan_shards
from training.errors import TrainingError
from training.settings.yaml_config import read_config


def cached(path):
    return make_cache(read_config(CacheConfig, path))


def captions(out):
    return {part.name: part.captions[0] for part in LatentCache(out, in_memory=False).pictures}


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in sorted(out.glob("shard_*"))}


def add_picture(folder: Path, name: str, size=(16, 16)) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(f"a picture {name}", encoding="utf-8")


def as_format_1(out: Path) -> None:
    """The indices and the head as the first version wrote them."""
    for path in out.glob("shard_*.json"):
        told = json.loads(path.read_text())
        del told["marks"], told["rules"]
        for entry in told["pictures"]:
            (entry["caption"],) = entry.pop("captions")
            del entry["crc"]
        path.write_text(json.dumps(told))
    head = json.loads((out / "cache.json").read_text())
    (out / "cache.json").write_text(json.dumps({**head, "format_version": 1}))


@pytest.mark.parametrize("packed", [False, True])
def test_a_corrected_caption_makes_its_shard_again_and_no_other(cache_config, tmp_path, packed):
    folder, out = tmp_path / "captioned", tmp_path / "out"

    def path():
        if not packed:
            return cache_config()
        shard = pack_captioned(folder, tmp_path / "set.tar")
        return cache_config(source__folders=[], source__shards=[str(shard)])

    cache_config()
    cached(path())
    before, name = times(out), "set.tar/2.png" if packed else "0/2.png"
    (folder / "2.txt").write_text("a corrected caption", encoding="utf-8")
    cached(path())
    after = times(out)
    assert {file for file in before if before[file] != after[file]} == {
        "shard_00001.safetensors", "shard_00001.json",
    }  # fmt: skip
    assert captions(out)[name] == "a corrected caption"
    assert captions(out)[name.replace("2", "3")] == "a picture 3"


def test_a_replaced_picture_is_encoded_again_and_a_touched_or_copied_one_is_not(
    cache_config, tmp_path
):
    folder, out = tmp_path / "captioned", tmp_path / "out"
    cached(cache_config())
    before = times(out)
    os.utime(folder / "0.png", (1, 1))
    cached(cache_config())
    assert times(out) == before
    add_picture(folder, "0")
    cached(cache_config())
    assert times(out)["shard_00000.json"] != before["shard_00000.json"]


def test_what_was_left_out_is_taken_in_once_it_is_mended(cache_config, tmp_path):
    folder, out = tmp_path / "captioned", tmp_path / "out"
    path = cache_config()
    (folder / "1.txt").write_bytes("ein Gemälde".encode("latin-1"))
    whole = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(whole[:60])
    assert set(cached(path).left_out) == {"0/1.png", "0/4.png"}
    before = times(out)
    assert set(cached(path).left_out) == {"0/1.png", "0/4.png"}
    assert times(out) == before
    (folder / "1.txt").write_text("ein Gemälde", encoding="utf-8")
    (folder / "4.png").write_bytes(whole)
    assert cached(path).left_out == {}
    assert captions(out)["0/1.png"] == "ein Gemälde"


def test_a_corrected_key_is_another_caption(cache_config, tmp_path, capsys):
    folder = tmp_path / "captioned"
    path = cache_config()
    for number in range(5):
        (folder / f"{number}.txt").unlink()
        (folder / f"{number}.json").write_text(json.dumps({"caption": f"picture {number}"}))
    assert main(["cache", str(path)]) == 1
    told = capsys.readouterr().err
    assert "Nothing was cached in" in told and "each of the 5 pictures was left out" in told
    assert "the first is 0/0.png (The caption file of 0/0.png has no text under the key" in told
    assert main(["cache", str(path), "--set", "source.caption_key=caption"]) == 0
    assert captions(tmp_path / "out")["0/0.png"] == "picture 0"


def test_added_pictures_get_shards_of_their_own_and_removed_ones_go(cache_config, tmp_path):
    folder, out = tmp_path / "captioned", tmp_path / "out"
    cached(cache_config())
    before = times(out)
    # It sorts before all others.
    add_picture(folder, "-first")
    assert cached(cache_config()).pictures == 6
    assert {name: time for name, time in times(out).items() if name in before} == before
    assert [part.name for part in read_index(shard_path(out, 3)).pictures] == ["0/-first.png"]
    for name in ("0", "1", "2"):
        (folder / f"{name}.png").unlink()
    assert cached(cache_config()).pictures == 3
    assert set(captions(out)) == {"0/3.png", "0/4.png", "0/-first.png"}
    assert read_index(shard_path(out, 0)).pictures == ()


def test_a_shard_whose_pictures_were_all_left_out_is_trained_over(cache_config, tmp_path):
    folder, out = tmp_path / "captioned", tmp_path / "out"
    path = cache_config()
    (folder / "4.png").write_bytes(b"no picture")
    cached(path)
    assert len(LatentCache(out, in_memory=True).pictures) == 4
    # As an older version wrote it: nobody can open it, though its hash is right.
    empty = shard_path(out, 2)
    header = b'{},"__metadata__":{}}   '
    empty.write_bytes(len(header).to_bytes(8, "little") + header)
    index = json.loads(empty.with_suffix(".json").read_text())
    empty.with_suffix(".json").write_text(json.dumps({**index, "sha256": file_hash(empty)}))
    for in_memory in (False, True):
        assert len(LatentCache(out, in_memory).pictures) == 4
    cached(path)
    assert b'{},"' not in empty.read_bytes()


def test_a_cache_of_format_1_is_kept_but_for_edited_captions_and_what_was_left_out(
    cache_config, tmp_path
):
    folder, out = tmp_path / "captioned", tmp_path / "out"
    path = cache_config()
    (folder / "4.png").write_bytes(b"no picture")
    cached(path)
    as_format_1(out)
    assert len(LatentCache(out, in_memory=False).pictures) == 4
    before = times(out)
    (folder / "2.txt").write_text("corrected", encoding="utf-8")
    cached(path)
    changed = {name for name, time in times(out).items() if time != before[name]}
    assert changed == {f"shard_0000{n}.{kind}" for n in (1, 2) for kind in ("json", "safetensors")}
    assert captions(out)["0/2.png"] == "corrected"


def test_the_log_says_what_is_made_again(cache_config, tmp_path, caplog):
    cached(cache_config())
    (tmp_path / "captioned" / "3.txt").write_text("other", encoding="utf-8")
    with caplog.at_level("INFO"):
        cached(cache_config())
    (line,) = [line for line in caplog.messages if line.startswith("making")]
    assert line == (
        "making shard_00001.safetensors again: 1 of its 2 pictures or captions changed, the first is 0/3.png"
    )


def test_the_share_left_out_is_said(tmp_path):
    words = CacheReport(3, {"b": "It is small.", "a": "damaged."}).words("out")
    assert "3 pictures in out, 2 left out (40.0%), the first is a (damaged);" in words
    assert CacheReport(3, {}).words("out") == "3 pictures in out, 0 left out"
    with pytest.raises(TrainingError, match=r"Nothing was cached in out: each of the 1 pictures"):
        CacheReport(0, {"a": "damaged."}).words("out")


def test_an_interrupted_plan_is_the_plan(cache_config, tmp_path):
    cache_config()
    pictures = scan_captioned([str(tmp_path / "captioned")], []).pictures
    plan = plan_shards(pictures, [], 2)
    assert [len(shard) for shard in plan] == [2, 2, 1]
    assert plan_shards(pictures, [None, None, None], 2) == plan
    held = [ShardIndex("", (), {part.name: "" for part in shard}) for shard in plan]
    for there in ([held[0], None, None], [None, held[1], None], [None, None, held[2]]):
        assert plan_shards(pictures, there, 2) == plan


def test_a_shard_that_lost_all_its_pictures_is_filled_again(cache_config, tmp_path):
    """As when source.folders are put in another order, which changes every name."""
    cache_config()
    pictures = scan_captioned([str(tmp_path / "captioned")], []).pictures
    gone = [ShardIndex("", (), {f"1/{number}.png": ""}) for number in range(5)]
    assert plan_shards(pictures, gone, 2) == plan_shards(pictures, [], 2)
