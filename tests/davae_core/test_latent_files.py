"""Latents on disk belong to the codec file that made them, in whatever dtype that file was loaded."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.autoencoder import DetailAlignedVAE
from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from davae_core.latent_files import encoding_hash, load_latents, save_latents


@pytest.fixture
def codec_file(tiny_codec, tmp_path):
    tiny_codec.save(tmp_path / "codec.safetensors")
    return tmp_path / "codec.safetensors"


def test_a_latent_is_read_by_its_codec_in_another_dtype(codec_file, tmp_path):
    coarse = DetailAlignedVAE.from_file(codec_file, dtype=torch.bfloat16)
    latents = coarse.encode(torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16))
    save_latents(tmp_path / "latent.safetensors", latents, coarse.layout, codec_file)
    codec = DetailAlignedVAE.from_file(codec_file)
    found = load_latents(tmp_path / "latent.safetensors", codec, codec_file)
    assert found.dtype == torch.float32 and torch.equal(found, latents.float())


def test_a_latent_is_read_by_a_lossless_copy_and_refused_by_a_rounded_one(codec_file, tmp_path):
    halves, wider = tmp_path / "halves.safetensors", tmp_path / "wider.safetensors"
    tensors, metadata = read_safetensors(codec_file)
    rounded = {name: tensor.half() for name, tensor in tensors.items()}
    write_safetensors(halves, rounded, metadata)
    write_safetensors(wider, {name: t.float() for name, t in rounded.items()}, metadata)
    codec = DetailAlignedVAE.from_file(wider)
    latents = codec.encode(torch.zeros(1, 3, 16, 16))
    save_latents(tmp_path / "latent.safetensors", latents, codec.layout, halves)
    assert torch.equal(load_latents(tmp_path / "latent.safetensors", codec, wider), latents)
    with pytest.raises(CheckpointError, match="was encoded with another DA-VAE"):
        load_latents(tmp_path / "latent.safetensors", codec, codec_file)


def test_a_compact_file_encodes_the_same(tiny_codec, codec_file, tmp_path):
    tiny_codec.save(tmp_path / "compact.safetensors", compact=True)
    assert encoding_hash(tmp_path / "compact.safetensors") == encoding_hash(codec_file)


def test_a_latent_without_a_parent_is_read(codec_file, tmp_path):
    save_file({"samples": torch.zeros(1, 16, 2, 3)}, tmp_path / "plain.safetensors")
    codec = DetailAlignedVAE.from_file(codec_file)
    found = load_latents(tmp_path / "plain.safetensors", codec, codec_file)
    assert torch.equal(found, load_file(tmp_path / "plain.safetensors")["samples"])
