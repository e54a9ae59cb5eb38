"""Latents on disk belong to the codec file that made them, in whatever dtype that file was loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.codec.files import load_codec, save_codec
from davae_core.codec.latent_files import encoding_hash, load_latents, save_latents
from davae_core.files import CheckpointError, read_safetensors, write_safetensors


@pytest.fixture
def codec_file(tiny_codec, tmp_path):
    save_codec(tmp_path / "codec.safetensors", tiny_codec)
    return tmp_path / "codec.safetensors"


def test_a_latent_is_read_by_its_codec_in_another_dtype(codec_file, tmp_path):
    coarse = load_codec(codec_file, dtype=torch.bfloat16)
    latents = coarse.encode(torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16))
    save_latents(tmp_path / "latent.safetensors", latents, coarse.layout, codec_file)
    codec = load_codec(codec_file)
    found = load_latents(tmp_path / "latent.safetensors", codec, codec_file)
    assert found.dtype == torch.float32 and torch.equal(found, latents.float())


def test_a_latent_is_read_by_a_copy_of_less_precision(tiny_codec, codec_file, tmp_path):
    saved, converted = tmp_path / "saved.safetensors", tmp_path / "converted.safetensors"
    save_codec(saved, tiny_codec, dtype=torch.float16)
    tensors, metadata = read_safetensors(codec_file)
    write_safetensors(converted, {name: t.bfloat16() for name, t in tensors.items()}, metadata)
    latents = tiny_codec.encode(torch.zeros(1, 3, 16, 16)).detach()
    save_latents(tmp_path / "latent.safetensors", latents, tiny_codec.layout, codec_file)
    for copy in (saved, converted):
        codec = load_codec(copy, dtype=torch.float32)
        assert torch.equal(load_latents(tmp_path / "latent.safetensors", codec, copy), latents)


def test_a_latent_is_refused_by_a_codec_of_other_weights(tiny_codec, codec_file, tmp_path):
    latents = tiny_codec.encode(torch.zeros(1, 3, 16, 16)).detach()
    save_latents(tmp_path / "latent.safetensors", latents, tiny_codec.layout, codec_file)
    other = tmp_path / "other.safetensors"
    tiny_codec.set_detail_statistics(*(torch.full((12,), value) for value in (0.5, 2.0)))
    save_codec(other, tiny_codec)
    with pytest.raises(CheckpointError, match="was encoded with another DA-VAE"):
        load_latents(tmp_path / "latent.safetensors", tiny_codec, other)


def test_a_file_that_does_not_say_what_its_latents_are_known_by_is_known_by_its_weights(
    codec_file, tmp_path
):
    tensors, metadata = read_safetensors(codec_file)
    described = json.loads(metadata["davae"])
    del described["encoding"]
    older = tmp_path / "older.safetensors"
    write_safetensors(older, tensors, {"davae": json.dumps(described)})
    assert encoding_hash(older) == encoding_hash(codec_file)


def test_a_compact_file_encodes_the_same(tiny_codec, codec_file, tmp_path):
    save_codec(tmp_path / "compact.safetensors", tiny_codec, compact=True)
    assert encoding_hash(tmp_path / "compact.safetensors") == encoding_hash(codec_file)


def test_a_latent_without_a_parent_is_read(codec_file, tmp_path):
    save_file({"samples": torch.zeros(1, 16, 2, 3)}, tmp_path / "plain.safetensors")
    codec = load_codec(codec_file)
    found = load_latents(tmp_path / "plain.safetensors", codec, codec_file)
    assert torch.equal(found, load_file(tmp_path / "plain.safetensors")["samples"])
