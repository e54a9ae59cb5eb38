"""Captions first, then pictures: what waits in between is used once, and only what changed is encoded again."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from davae_core.files import file_hash, read_safetensors, write_safetensors
from training.cache import caption_pass, picture_pass
from training.cache.caption_pass import read_waiting, waiting_path
from training.cache.config import CacheConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.shard_files import read_index, shard_path
from training.settings.yaml_config import read_config


def read(path: Path) -> CacheConfig:
    return read_config(CacheConfig, path)


def whole(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Stopped(Exception):
    """A kill between the two halves."""


@pytest.fixture
def stopped_before_pictures(cache_config: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job that was killed when the captions were encoded."""

    def stop(*_: Any) -> None:
        raise Stopped

    path: Path = cache_config()
    with monkeypatch.context() as patch:
        patch.setattr(picture_pass, "load_picture_encoder", stop)
        with pytest.raises(Stopped):
            make_cache(read(path))
    return path


def test_what_waits_is_not_encoded_again_and_is_gone_at_the_end(
    stopped_before_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert len(list(out.glob("shard_*_texts.safetensors"))) == 3
    captions = read_waiting(shard_path(out, 0)).captions
    assert captions == {"0/0.png": ("a picture 0",), "0/1.png": ("a picture 1",)}

    def never(*_: Any) -> None:
        raise AssertionError("the text encoders are loaded")

    with monkeypatch.context() as patch:
        patch.setattr(caption_pass, "load_caption_encoder", never)
        make_cache(read(stopped_before_pictures))
    found = whole(out)
    assert not any("_texts" in name for name in found)
    for path in out.iterdir():
        path.unlink()
    make_cache(read(stopped_before_pictures))
    assert whole(out) == found


def test_a_caption_that_changed_meanwhile_is_encoded_again(
    stopped_before_pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "captioned" / "1.txt").write_text("other words", encoding="utf-8")
    make_cache(read(stopped_before_pictures))
    cache = LatentCache(tmp_path / "out", in_memory=False)
    assert cache.pictures[1].captions == ("other words",)
    fresh = tmp_path / "fresh"
    config = stopped_before_pictures.read_text().replace(str(tmp_path / "out"), str(fresh))
    stopped_before_pictures.write_text(config)
    make_cache(read(stopped_before_pictures))
    other = LatentCache(fresh, in_memory=False)
    assert torch.equal(cache.read(1)[1].pooled, other.read(1)[1].pooled)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b""), Path.unlink])
def test_what_waits_and_is_damaged_or_gone_is_encoded_again(
    stopped_before_pictures: Path, tmp_path: Path, harm: Any
) -> None:
    harm(waiting_path(shard_path(tmp_path / "out", 1)))
    assert make_cache(read(stopped_before_pictures)).pictures == 5


def test_text_encoders_and_vae_are_never_in_memory_together(
    cache_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = {"text": 0, "vae": 0}
    load_text, load_vae = caption_pass.load_caption_encoder, picture_pass.load_picture_encoder

    class Held:
        def __init__(self, kind: str, inner: Any) -> None:
            self.kind, self.inner = kind, inner
            alive[kind] += 1
            assert sum(alive.values()) == 1

        def __del__(self) -> None:
            alive[self.kind] -= 1

        def __call__(self, *given: Any) -> Any:
            return self.inner(*given)

    class HeldVae(Held):
        def encode(self, images: Any) -> Any:
            return self.inner.encode(images)

    monkeypatch.setattr(
        caption_pass, "load_caption_encoder", lambda *a: Held("text", load_text(*a))
    )
    monkeypatch.setattr(
        picture_pass, "load_picture_encoder", lambda *a: HeldVae("vae", load_vae(*a))
    )
    assert make_cache(read(cache_config())).pictures == 5
    assert alive == {"text": 0, "vae": 0}


def test_on_a_finished_cache_nothing_is_loaded(
    cache_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(read(cache_config()))

    def never(*_: Any) -> None:
        raise AssertionError("something is loaded")

    monkeypatch.setattr(caption_pass, "load_caption_encoder", never)
    monkeypatch.setattr(picture_pass, "load_picture_encoder", never)
    assert make_cache(read(cache_config())).pictures == 5


def test_other_prompts_are_encoded_without_touching_a_shard(
    cache_config: Any, tmp_path: Path
) -> None:
    make_cache(read(cache_config()))
    before = whole(tmp_path / "out")
    make_cache(read(cache_config(prompts=["a square"])))
    changed = {name for name, held in whole(tmp_path / "out").items() if before[name] != held}
    assert changed == {"cache.json", "texts.safetensors"}
    (prompt, _), = LatentCache(tmp_path / "out", in_memory=False).prompts()  # fmt: skip
    assert prompt == "a square"


def test_only_the_changed_picture_of_a_shard_is_encoded_again(
    cache_config: Any, tmp_path: Path
) -> None:
    config = read(cache_config(output__shard_pictures=5))
    make_cache(config)
    path = shard_path(tmp_path / "out", 0)
    tensors, _ = read_safetensors(path)
    # A mark that only copying keeps.
    tensors["latent.1"] += 1
    write_safetensors(path, tensors, {})
    told = path.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(told.replace(read_index(path).sha256, file_hash(path)))
    (tmp_path / "captioned" / "2.txt").write_text("other words", encoding="utf-8")
    marked = tensors["latent.1"].clone()
    make_cache(config)
    after, index = read_safetensors(path)[0], read_index(path)
    assert [part.name for part in index.pictures] == [f"0/{n}.png" for n in range(5)]
    assert torch.equal(after["latent.1"], marked)
    assert index.pictures[2].captions == ("other words",)
    assert torch.equal(after["latent.2"], tensors["latent.2"])
    assert not torch.equal(after["pooled.2"], tensors["pooled.2"])
    assert set(index.marks) == {f"0/{n}.png" for n in range(5)}
    before = path.stat().st_mtime_ns
    make_cache(config)
    assert path.stat().st_mtime_ns == before


def test_a_picture_that_goes_takes_only_itself_along(
    cache_config: Any, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(read(cache_config()))
    wanted = LatentCache(tmp_path / "out", in_memory=True).read(1)[0]
    (tmp_path / "captioned" / "0.png").unlink()

    def never(*_: Any) -> None:
        raise AssertionError("something is encoded")

    monkeypatch.setattr(caption_pass, "load_caption_encoder", never)
    monkeypatch.setattr(picture_pass, "load_picture_encoder", never)
    caplog.set_level(logging.INFO)
    assert make_cache(read(cache_config())).pictures == 4
    assert "making shard_00000.safetensors again: pictures of it are gone" in caplog.text
    cache = LatentCache(tmp_path / "out", in_memory=False)
    assert cache.pictures[0].name == "0/1.png" and torch.equal(cache.read(0)[0], wanted)
