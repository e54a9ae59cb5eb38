"""Jobs that know nothing of one another make one cache, in one folder or in several that are put together."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from training.__main__ import main
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.parts import Part, part_of
from training.errors import TrainingError
from training.settings.yaml_config import read_config


def make(path: Path, part: Part = Part()) -> int:  # noqa: B008
    return make_cache(read_config(CacheConfig, path), part).pictures


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def expected(cache_config: Any, tmp_path: Path) -> dict[str, bytes]:
    """What one job makes."""
    make(cache_config(output__folder=str(tmp_path / "one")))
    return contents(tmp_path / "one")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_parts_in_one_folder_are_one_cache_once_the_last_is_done(
    cache_config: Any, tmp_path: Path, expected: dict[str, bytes], order: tuple[int, int]
) -> None:
    first, last = order
    path, out = cache_config(), tmp_path / "out"
    pictures = make(path, Part(first, 2))
    with pytest.raises(TrainingError, match="holds no cache"):
        LatentCache(out, in_memory=False)
    assert pictures + make(path, Part(last, 2)) == 5
    assert contents(out) == expected
    # And a check of one of them leaves it as it is.
    assert make(path, Part(first, 2)) == pictures
    make(path, Part(last, 2))
    assert contents(out) == expected


def test_parts_in_folders_of_their_own_are_joined(
    cache_config: Any, tmp_path: Path, expected: dict[str, bytes], capsys: Any
) -> None:
    for number in (1, 2, 3):
        make(cache_config(output__folder=str(tmp_path / f"part{number}")), Part(number, 3))
    path, out = cache_config(), tmp_path / "out"
    join = ["cache", str(path), "--join"]
    assert main(join) == 1 and "has no part_*.json: run" in capsys.readouterr().err
    out.mkdir()
    for number in (1, 3):
        shutil.copytree(tmp_path / f"part{number}", out, dirs_exist_ok=True)
    assert main(join) == 1
    assert "has 2 of 3 parts, without 2: run those, or copy" in capsys.readouterr().err
    shutil.copytree(tmp_path / "part2", out, dirs_exist_ok=True)
    assert main(join) == 0 and "is one cache of 3 shards" in capsys.readouterr().out
    assert contents(out) == expected


def test_what_is_missing_of_a_part_is_named_when_they_are_joined(
    cache_config: Any, tmp_path: Path, capsys: Any
) -> None:
    for number in (1, 2):
        make(cache_config(output__folder=str(tmp_path / f"part{number}")), Part(number, 2))
    path, out = cache_config(), tmp_path / "out"
    for number in (1, 2):
        shutil.copytree(tmp_path / f"part{number}", out, dirs_exist_ok=True)
    (out / "shard_00001.json").unlink()
    assert main(["cache", str(path), "--join"]) == 1
    assert "lacks shard_00001.safetensors" in capsys.readouterr().err
    shutil.copytree(tmp_path / "part2", out, dirs_exist_ok=True)
    (out / "texts.safetensors").unlink()
    assert main(["cache", str(path), "--join"]) == 1
    assert "lacks texts.safetensors, which part 1 wrote" in capsys.readouterr().err


def test_parts_that_disagree_are_refused(cache_config: Any, tmp_path: Path) -> None:
    make(cache_config(), Part(1, 3))
    with pytest.raises(TrainingError, match=r"made with images\.flips = False, not True"):
        make(cache_config(images__flips=True), Part(2, 3))
    with pytest.raises(TrainingError, match=r"holds part_00001_of_00003\.json, but this is part"):
        make(cache_config(), Part(2, 4))
    shutil.copy(tmp_path / "captioned" / "0.png", tmp_path / "captioned" / "9.png")
    (tmp_path / "captioned" / "9.txt").write_text("one more", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"Parts 1 and 2 .* of other pictures, shards or"):
        make(cache_config(), Part(2, 3))


def test_a_part_that_was_begun_and_not_finished_is_missing(
    cache_config: Any, tmp_path: Path, capsys: Any
) -> None:
    path, out = cache_config(), tmp_path / "out"
    for number in (1, 2):
        make(path, Part(number, 3))
    told = json.loads((out / "part_00002_of_00003.json").read_text())
    (out / "part_00002_of_00003.json").write_text(json.dumps({**told, "done": False}))
    make(path, Part(3, 3))
    assert not (out / "cache.json").exists()
    assert main(["cache", str(path), "--part", "2/3"]) == 0
    assert "2 pictures in" in capsys.readouterr().out
    assert len(LatentCache(out, in_memory=False).pictures) == 5


@pytest.mark.parametrize("written", ["0/3", "4/3", "3", "1/0", "a/b", "1/99999", "-1/3"])
def test_what_is_no_part_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no part: write 3/8"):
        part_of(written)


def test_more_parts_than_shards_leave_some_with_nothing_to_do(
    cache_config: Any, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    path = cache_config()
    assert [make(path, Part(number, 5)) for number in range(1, 6)] == [2, 2, 1, 0, 0]
    assert contents(tmp_path / "out") == expected
