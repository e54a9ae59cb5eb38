"""What users bring that is broken: cut off, unreadable, in another alphabet, on a full disk, killed half-way."""

import os
import resource
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core.files import CheckpointError, read_safetensors
from tests.training.cache_fixtures import pack_captioned
from tests.training.dit_fixtures import rewrite_shard
from tests.training.two_runs import start_two
from training.cache.caption_sources import scan_captioned
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.picture_check import UNKNOWN
from training.cache.shard_files import read_index, shard_path, write_index
from training.dit.train import train_dit
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.train import train_vae

PATIENCE = 300


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard_*"))}


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_shard_that_is_cut_short_is_named_before_training(davae_cache, in_memory):
    path = shard_path(davae_cache, 1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrainingError, match=r"has a damaged shard_00001\.safetensors: run"):
        LatentCache(davae_cache, in_memory)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def without_checksums(folder: Path) -> None:
    """The indices as an older version wrote them."""
    for path in folder.glob("shard_*.safetensors"):
        index = read_index(path)
        pictures = tuple(replace(picture, crc=UNKNOWN) for picture in index.pictures)
        write_index(path, replace(index, pictures=pictures))


@pytest.mark.parametrize("older", [False, True])
def test_a_flipped_bit_in_a_shard_is_found_when_the_picture_is_first_read(davae_cache, older):
    if older:
        without_checksums(davae_cache)
    cache = LatentCache(davae_cache, in_memory=False)
    cache.read(0)
    for number in (0, 1):
        flip_a_bit(shard_path(davae_cache, number))
    cache.read(1)
    with pytest.raises(TrainingError, match=r"damaged shard_00001\.safetensors, which does not"):
        cache.read(len(cache.pictures) - 1)
    with pytest.raises(TrainingError, match=r"has a damaged shard_00000\.safetensors"):
        LatentCache(davae_cache, in_memory=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_ends_the_training_in_a_sentence_whoever_reads_it(
    dit_config, davae_cache, workers
):
    flip_a_bit(shard_path(davae_cache, 1))
    config = dit_config(
        validation__cache=None, validation__samples_every=0, data__in_memory=False,
        data__workers=workers,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"has a damaged shard_00001") as error:
        train_dit(config)
    assert "\n" not in str(error.value) and str(error.value).endswith("which makes it anew.")


def test_a_caption_that_is_no_utf8_is_left_out_by_name(cache_config, tmp_path):
    (tmp_path / "captioned" / "1.txt").write_bytes("ein Gemälde".encode("latin-1"))
    report = make_cache(read_config(CacheConfig, cache_config()))
    assert report.pictures == 4
    assert report.left_out == {
        "0/1.png": "The caption of 0/1.png is no text in UTF-8: mend that file."
    }


def test_names_that_are_no_utf8_are_cached_and_trained_on(cache_config, tmp_path):
    path = cache_config()
    folder = os.fsencode(tmp_path / "captioned")
    for suffix in (b".png", b".txt"):
        os.rename(folder + b"/1" + suffix, folder + b"/caf\xe9" + suffix)
    (tmp_path / "captioned" / os.fsdecode(b"bad\xe9.png")).write_bytes(b"no picture")
    (tmp_path / "captioned" / os.fsdecode(b"bad\xe9.txt")).write_text("bad")
    report = make_cache(read_config(CacheConfig, path))
    assert (report.pictures, set(report.left_out)) == (5, {"0/bad\\xe9.png"})
    cache = LatentCache(tmp_path / "out", in_memory=False)
    assert "0/caf\\xe9.png" in {picture.name for picture in cache.pictures}
    assert make_cache(read_config(CacheConfig, path)) == report


def test_an_unreadable_picture_whose_name_is_no_utf8_ends_no_codec_training(make_config, pictures):
    (pictures / "train" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    config = make_config(train__steps=5)
    assert train_vae(config, stop_at=4) is None
    listed = Path(config.output.folder, "unreadable_pictures.tsv").read_text(encoding="utf-8")
    assert listed.startswith(f"{pictures / 'train'}/caf\\xe9.png\t")
    # The checkpoint tells of it, and is read.
    assert train_vae(config) is not None


@pytest.mark.parametrize("name", ["0.png", "in a tar"])
def test_a_picture_that_is_cut_short_is_left_out_by_name(cache_config, tmp_path, name):
    folder = tmp_path / "captioned"
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(whole[: len(whole) // 2])
    changes = {}
    if name == "in a tar":
        shard = pack_captioned(folder, tmp_path / "set.tar")
        changes = {"source__folders": [], "source__shards": [str(shard)]}
    report = make_cache(read_config(CacheConfig, cache_config(**changes)))
    assert report.pictures == 4
    ((left_out, reason),) = report.left_out.items()
    assert left_out in ("0/0.png", "set.tar/0.png")
    assert "0.png" in reason and "is damaged or cut short" in reason


@pytest.mark.parametrize("place", ["header", "boundary", "data"])
def test_a_tar_file_that_is_cut_short_is_refused(cache_config, tmp_path, place):
    cache_config()
    shard = pack_captioned(tmp_path / "captioned", tmp_path / "set.tar")
    with tarfile.open(shard) as tar:
        third = tar.getmembers()[2]
    cut = {"header": third.offset + 100, "boundary": third.offset, "data": third.offset_data + 9}
    shard.write_bytes(shard.read_bytes()[: cut[place]])
    with pytest.raises(TrainingError, match=r"set\.tar is no readable, uncompressed tar file"):
        scan_captioned([], [str(shard)])


def test_a_full_disk_ends_a_cache_in_a_sentence_and_the_next_run_finishes_it(
    cache_config, tmp_path
):
    config = read_config(CacheConfig, cache_config(output__shard_pictures=5))
    make_cache(config)
    out = tmp_path / "out"
    expected = shards(out)
    for path in shards(out):
        (out / path).unlink()
    # Enough for the texts that belong to no picture, too little for those of a shard.
    room = (out / "texts.safetensors").stat().st_size + 500
    with full_disk(room), pytest.raises(CheckpointError, match="the disk is full") as error:
        make_cache(config)
    assert "shard_00000_texts.safetensors" in str(error.value) and "\n" not in str(error.value)
    assert shards(out) == {}
    make_cache(config)
    assert shards(out) == expected


def test_a_full_disk_ends_stage_2_in_a_sentence_and_the_next_run_goes_on(dit_config, tmp_path):
    config = dit_config(validation__cache=None, validation__samples_every=0)
    assert train_dit(config, stop_at=2) is None
    with full_disk(20_000), pytest.raises(TrainingError, match="could not be written") as error:
        train_dit(config)
    assert "earlier checkpoints are untouched" in str(error.value)
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step_00000002"]
    assert train_dit(config) is not None


def test_a_whole_cache_of_broken_latents_changes_no_weight(dit_config, davae_cache):
    """The steps are left out one by one, and the run ends before it writes an adapter."""
    for number in (0, 1):
        rewrite_shard(
            shard_path(davae_cache, number),
            lambda found: [t.fill_(torch.nan) for name, t in found.items() if "latent" in name],
        )
    config = dit_config(validation__cache=None, validation__samples_every=0, train__steps=20)
    with pytest.raises(TrainingError, match="not finite 10 steps in a row"):
        train_dit(config)
    saved = Path(config.output.folder) / "checkpoints"
    for path in saved.rglob("*.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in read_safetensors(path)[0].values())


@pytest.mark.usefixtures("one_thread")
def test_a_cache_job_of_two_processes_survives_the_death_of_one(cache_config, tmp_path):
    folder = tmp_path / "captioned"
    for number in range(5, 30):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture {number}", encoding="utf-8")
    path = cache_config(output__shard_pictures=1)
    out = tmp_path / "out"
    processes = start_two("cache", path)
    try:
        wait_for(shard_path(out, 1).with_suffix(".json"), processes[1])
        processes[1].send_signal(signal.SIGKILL)
        processes[1].wait(PATIENCE)
        # The other one waits for it in vain, and says so instead of waiting for ever.
        assert processes[0].wait(PATIENCE) != 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    kept = {name: (out / name).stat().st_mtime_ns for name in shards(out) if name.endswith(".json")}
    assert 0 < len(kept) < 30
    assert make_cache(read_config(CacheConfig, path)).pictures == 30
    assert all((out / name).stat().st_mtime_ns == time for name, time in kept.items())
    names = [read_index(shard_path(out, number)).pictures[0].name for number in range(30)]
    assert len(set(names)) == 30
    killed = shards(out)
    shutil.rmtree(out)
    make_cache(read_config(CacheConfig, path))
    assert shards(out) == killed


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
