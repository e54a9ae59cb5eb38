"""What `cache.json` says of the latents is what it said before a plain VAE's had a layout."""

import json

import pytest

from davae_core.latents import LatentLayout
from training.cache.latent_cache import HEAD, read_head, write_head
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
