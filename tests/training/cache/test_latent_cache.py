"""What `cache.json` says of the latents is what it said before a plain VAE's had a layout."""

import json

import pytest
import torch

from davae_core.latents import LatentLayout
from training.cache.head import HEAD, CacheHead, read_head, write_head
from training.cache.latent_cache import LatentCache, write_texts
from training.cache.shard_files import CachedPicture, shard_path, write_shard
from training.cache.text_states import TextStates
from training.errors import TrainingError

DAVAE, PLAIN = LatentLayout(16, 48, 8, 4, 0.25, 2.0), LatentLayout(4, 0, 8, 1, 0.25, 2.0)
LAYOUT = {
    "base_channels": 16, "detail_channels": 48, "base_factor": 8, "ratio": 4, "base_shift": 0.25, "base_scale": 2.0,
}  # fmt: skip
NUMBERS = {"shift": 0.25, "scale": 2.0, "vae": "x.safetensors", "vae_hash": "5a"}
SPACES = [
    (DAVAE, {"channels": 64, "factor": 32, **NUMBERS, "layout": LAYOUT}),
    (PLAIN, {"channels": 4, "factor": 8, **NUMBERS, "layout": None}),
]


def written_before(folder, space):
    """A head as the first version wrote it."""
    settings = {"source.folders": ["a"], "vae.file": "b/x.safetensors", "text.kind": "mini"}
    head = {"space": space, "settings": settings, "prompts": ["a circle"], "shards": 2}
    text = json.dumps({**head, "pictures": "digest", "format_version": 1}, indent=1)
    (folder / HEAD).write_text(text)
    return text


@pytest.mark.parametrize(("layout", "space"), SPACES, ids=["davae", "base_vae"])
def test_a_head_is_read_and_written_as_before(tmp_path, layout, space):
    text = written_before(tmp_path, space)
    head = read_head(tmp_path)
    assert (head.layout, head.vae, head.vae_hash) == (layout, "x.safetensors", "5a")
    assert (head.prompts, head.shards, head.pictures) == (("a circle",), 2, "digest")
    write_head(tmp_path, head)
    # The version too: only who makes the cache again changes it.
    assert (tmp_path / HEAD).read_text() == text


@pytest.mark.parametrize(("layout", "space"), SPACES, ids=["davae", "base_vae"])
def test_provenance_is_what_older_checkpoints_noted(tmp_path, layout, space):
    written_before(tmp_path, space)
    noted = {name: value for name, value in space.items() if name != "vae"}
    assert read_head(tmp_path).provenance() == {"vae": noted, "text.kind": "mini"}


@pytest.mark.parametrize("lost", ["channels", "shift", "vae", "vae_hash", "layout"])
def test_a_head_that_lacks_what_it_must_say_is_damaged(tmp_path, lost):
    space = dict(SPACES[1][1])
    del space[lost]
    written_before(tmp_path, space)
    with pytest.raises(TrainingError, match=r"cache\.json is damaged: make the cache again"):
        read_head(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("cache.json", lambda told: told.update(shards=10**9), "shards is 1000000000"),
        (
            "cache.json",
            lambda told: told.update(prompts="ab"),
            "prompts is 'ab', but it must be a list",
        ),
        (
            "cache.json",
            lambda told: told["space"].update(vae=5),
            r"space\.vae is 5, but it must be text",
        ),
        ("cache.json", lambda told: told.update(format_version="1"), "format_version is '1'"),
        ("shard_00000.json", lambda told: told["pictures"][0].update(height="2"), r"height is '2'"),
        (
            "shard_00000.json",
            lambda told: told["pictures"][0].update(height=3),
            "does not hold what",
        ),
        ("shard_00000.json", lambda told: told.update(left_out={"a": 5}), r"left_out\.'a' is 5"),
        (
            "shard_00000.json",
            lambda told: told["pictures"].append(told["pictures"][0]),
            "does not hold",
        ),
    ],
)
def test_what_a_cache_says_of_itself_is_checked_before_training(tmp_path, file, change, words):
    folder = whole_cache(tmp_path / "cache")
    told = json.loads((folder / file).read_text())
    change(told)
    (folder / file).write_text(json.dumps(told))
    with pytest.raises(TrainingError, match=words):
        LatentCache(folder, in_memory=False)


@pytest.mark.parametrize("file", ["cache.json", "shard_00000.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "{}", "1"])
def test_an_index_that_is_none_is_one_sentence(tmp_path, file, text):
    folder = whole_cache(tmp_path / "cache")
    (folder / file).write_text(text)
    with pytest.raises(TrainingError, match=r"is damaged"):
        LatentCache(folder, in_memory=False)


def whole_cache(folder):
    """A cache of one picture."""
    folder.mkdir()
    write_head(folder, CacheHead(DAVAE, "vae", "0a", {}, (), 1, "0a"))
    text = TextStates(torch.zeros(1, 5, 8), None, torch.zeros(1, 6))
    write_texts(folder, text, [])
    latent = torch.zeros(1, DAVAE.channels, 2, 2)
    write_shard(shard_path(folder, 0), [CachedPicture("a", ("a",), 2, 2, 1)], [latent], [text], {})
    assert torch.equal(LatentCache(folder, in_memory=False).read(0)[0], latent)
    return folder
