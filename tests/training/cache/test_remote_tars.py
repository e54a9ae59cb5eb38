"""Tar files at addresses are cached as those on the disk are: renewed, resumed, and fetched only when needed."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.cache_fixtures import pack_captioned
from tests.training.two_runs import start_two
from training.__main__ import main
from training.cache import remote_tars
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.errors import TrainingError
from training.settings.yaml_config import read_config


@pytest.fixture
def remote_config(cache_config: Any, tmp_path: Path) -> Any:
    """A configuration over tars at addresses, with room of its own for their copies."""

    def make(*addresses: str, **changes: Any) -> Path:
        config: Path = cache_config(
            source__folders=[], source__shards=list(addresses),
            work__downloads=str(tmp_path / "downloads"), **changes,
        )  # fmt: skip
        return config

    return make


def make(config: Path) -> Any:
    return make_cache(read_config(CacheConfig, config))


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard_*.safetensors"))}


def test_a_tar_at_an_address_is_cached_as_one_on_the_disk(
    remote_config: Any, cache_config: Any, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    cache_config()
    shard = pack_captioned(tmp_path / "captioned", folder / "set.tar")
    make(remote_config(f"{address}/set.tar"))
    ours = LatentCache(tmp_path / "out", in_memory=False)
    local = tmp_path / "local"
    make(cache_config(source__folders=[], source__shards=[str(shard)], output__folder=str(local)))
    assert shards(tmp_path / "out") == shards(local)
    assert list(ours.pictures) == list(LatentCache(local, in_memory=False).pictures)
    # No copy stays.
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are fetched."""
    found: list[str] = []
    fetch = remote_tars.fetch

    def noting(address: str, *rest: Any) -> None:
        found.append(address.rpartition("/")[2])
        fetch(address, *rest)

    monkeypatch.setattr(remote_tars, "fetch", noting)
    return found


def test_only_what_changed_is_fetched_again(
    remote_config: Any, cache_config: Any, in_memory_system: Any, fetched: list[str], tmp_path: Path
) -> None:
    cache_config()
    folder = tmp_path / "captioned"
    for number, names in enumerate((("0", "1"), ("2", "3", "4"))):
        part = tmp_path / f"part{number}"
        part.mkdir()
        for name in names:
            for suffix in ("png", "txt"):
                shutil.copy(folder / f"{name}.{suffix}", part)
        pack_captioned(part, tmp_path / f"{number}.tar")
        in_memory_system.put_file(str(tmp_path / f"{number}.tar"), f"/tars/{number}.tar")
    config = remote_config("memory://tars/{0..1}.tar")
    assert make(config).pictures == 5
    assert set(fetched) == {"0.tar", "1.tar"}
    fetched.clear()
    assert make(config).pictures == 5
    assert fetched == []
    (tmp_path / "part1" / "3.txt").write_text("other words", encoding="utf-8")
    pack_captioned(tmp_path / "part1", tmp_path / "1.tar")
    in_memory_system.put_file(str(tmp_path / "1.tar"), "/tars/1.tar")
    make(config)
    assert set(fetched) == {"1.tar"}
    captions = {
        picture.name: picture.captions for picture in LatentCache(tmp_path / "out", False).pictures
    }
    assert captions["1.tar/3.png"] == ("other words",)
    # By a pattern they are the same tars.
    fetched.clear()
    make(remote_config("memory://tars/*.tar"))
    assert fetched == []


def test_what_cannot_be_cached_is_left_out_and_taken_in_once_it_is_mended(
    remote_config: Any, cache_config: Any, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    cache_config()
    captioned = tmp_path / "captioned"
    whole = (captioned / "2.png").read_bytes()
    (captioned / "2.png").write_bytes(whole[:40])
    (captioned / "1.txt").write_bytes(b"caf\xe9")
    pack_captioned(captioned, folder / "set.tar")
    config = remote_config(f"{address}/set.tar")
    assert set(make(config).left_out) == {"set.tar/1.png", "set.tar/2.png"}
    (captioned / "2.png").write_bytes(whole)
    pack_captioned(captioned, folder / "set.tar")
    os.utime(folder / "set.tar", (1, 1))
    assert set(make(config).left_out) == {"set.tar/1.png"}


def test_tars_of_one_name_keep_their_pictures_apart(
    remote_config: Any, cache_config: Any, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    cache_config()
    for place in ("a", "b"):
        (folder / place).mkdir()
        pack_captioned(tmp_path / "captioned", folder / place / "set.tar")
    assert make(remote_config(f"{address}/{{a,b}}/set.tar")).pictures == 10
    names = {picture.name for picture in LatentCache(tmp_path / "out", False).pictures}
    assert f"{address}/a/set.tar/0.png" in names and len(names) == 10


def test_an_address_that_cannot_be_read_is_one_sentence(
    remote_config: Any, served: tuple[Path, str], capsys: Any
) -> None:
    folder, address = served
    assert main(["cache", str(remote_config(f"{address}/nothere.tar"))]) == 1
    (line,) = (text for text in capsys.readouterr().err.splitlines() if "cannot be read" in text)
    assert "nothere.tar in source.shards cannot be read (" in line
    with pytest.raises(TrainingError, match=r"nosuch://a/b\.tar in source\.shards cannot be read"):
        make(remote_config("nosuch://a/b.tar"))
    (folder / "set.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(TrainingError, match="is no readable, uncompressed tar file"):
        make(remote_config(f"{address}/set.tar"))


def test_two_processes_of_which_one_is_killed_are_finished_by_the_same_command(
    remote_config: Any, cache_config: Any, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    cache_config()
    pack_captioned(tmp_path / "captioned", folder / "set.tar")
    config = remote_config(f"{address}/set.tar", output__shard_pictures=1)
    out = tmp_path / "out"
    processes = start_two("cache", config)
    try:
        while not list(out.glob("shard_*.json")):
            assert processes[0].poll() is None
            time.sleep(0.01)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("shard_*.json")}
    assert make(config).pictures == 5
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    names = {picture.name for picture in LatentCache(out, in_memory=False).pictures}
    assert names == {f"set.tar/{number}.png" for number in range(5)}


def test_a_listing_that_is_damaged_is_made_again(
    remote_config: Any,
    cache_config: Any,
    served: tuple[Path, str],
    fetched: list[str],
    tmp_path: Path,
) -> None:
    folder, address = served
    cache_config()
    pack_captioned(tmp_path / "captioned", folder / "set.tar")
    config = remote_config(f"{address}/set.tar")
    make(config)
    (listing,) = (tmp_path / "out" / "sources").iterdir()
    told = json.loads(listing.read_text())
    told["members"][0]["offset"] = "far"
    listing.write_text(json.dumps(told))
    fetched.clear()
    make(config)
    assert fetched == ["set.tar"]
