import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.files import load_base_vae, load_codec, save_base_vae, save_codec
from davae_core.codec.small import SmallConfig, SmallDecoder, SmallEncoder
from davae_core.files import CheckpointError
from davae_core.inspection import inspect_file
from davae_core.latents import LatentLayout, downscale_image
from davae_core.presets import SD3, SMALL

TINY = SmallConfig(width=8, levels=3, blocks=2, shift=0.25, scale=2.0)
LAYOUT = LatentLayout(4, 4, 4, 2, base_shift=0.25, base_scale=2.0)
PUBLISHED = json.loads((Path(__file__).parents[2] / "data" / "taesd3_shapes.json").read_text())


@pytest.fixture
def vae() -> KLAutoencoder:
    torch.manual_seed(0)
    return KLAutoencoder(TINY, 4)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


def write_pair(folder: Path, vae: KLAutoencoder) -> Path:
    """The two files as TAESD publishes them."""
    for half in ("encoder", "decoder"):
        save_file(getattr(vae, half).state_dict(), folder / f"tae_{half}.safetensors")
    return folder / "tae_encoder.safetensors"


@pytest.mark.parametrize(("half", "kind"), [("encoder", SmallEncoder), ("decoder", SmallDecoder)])
def test_the_presets_layers_are_the_published_ones(half, kind):
    built = kind(SMALL.backbone, 16).state_dict()
    assert {name: list(tensor.shape) for name, tensor in built.items()} == PUBLISHED[half]


def test_inside_latents_are_in_model_space_and_pictures_from_0_to_1(vae, pictures):
    moments = vae.encode_moments(pictures)
    own = vae.encoder.conv_out(vae.encoder.features(pictures))
    torch.testing.assert_close((moments.mean - 0.25) * 2.0, own)
    assert (moments.logvar == -30).all() and moments.mean.shape == (2, 4, 8, 12)
    grey, first = torch.zeros(1, 3, 8, 8), vae.encoder[0]
    torch.testing.assert_close(first(grey / 2 + 0.5), first(torch.full_like(grey, 0.5)))
    made = torch.nn.Sequential(*vae.decoder)((moments.mean - 0.25) * 2.0)
    torch.testing.assert_close(vae.decode(moments.mean), made * 2 - 1)


def test_a_published_pair_is_read_from_either_file_with_the_numbers_of_what_it_imitates(
    vae, pictures, tmp_path
):
    found = load_base_vae(write_pair(tmp_path, vae), channels=4, like=SD3.layout)
    assert (found.layout.base_shift, found.layout.base_scale) == (0.0609, 1.5305)
    assert found.vae.backbone == replace(TINY, shift=0.0609, scale=1.5305)
    other = load_base_vae(tmp_path / "tae_decoder.safetensors", like=SD3.layout)
    latents = found.vae.encode_moments(pictures).mean
    assert torch.equal(other.vae.decode(latents), found.vae.decode(latents))


def test_half_a_pair_and_a_damaged_one_are_refused(vae, tmp_path):
    path = write_pair(tmp_path, vae)
    save_file({"1.weight": torch.zeros(3), "3.conv.0.weight": torch.zeros(1)},
              tmp_path / "tae_decoder.safetensors")  # fmt: skip
    with pytest.raises(CheckpointError, match="no whole small VAE"):
        load_base_vae(path)
    (tmp_path / "tae_decoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"tae_decoder\.safetensors is not beside it"):
        load_base_vae(path)


def test_it_is_written_as_one_file_and_read_again(vae, pictures, tmp_path):
    path = tmp_path / "small.safetensors"
    save_base_vae(path, vae, TINY.shift, TINY.scale)
    assert all(name.startswith(("taesd_", "vae_s")) for name in load_file(path))
    found = load_base_vae(path)
    assert found.vae.backbone == TINY and found.layout == replace(
        LAYOUT, detail_channels=0, ratio=1
    )
    latents = vae.encode_moments(pictures).mean
    assert torch.equal(found.vae.decode(latents), vae.decode(latents))
    assert "base VAE" in inspect_file(path).lines[0]


def test_the_one_file_needs_none_of_our_metadata(vae, tmp_path):
    path = tmp_path / "small.safetensors"
    save_base_vae(path, vae, TINY.shift, TINY.scale)
    save_file(load_file(path), path)
    assert load_base_vae(path, like=SD3.layout).vae.backbone == TINY
    assert "a small VAE" in inspect_file(path).lines[0]


def test_a_codec_grows_from_it_and_keeps_its_base(vae, pictures, tmp_path):
    codec = DetailAlignedVAE.from_base(vae, CodecConfig(LAYOUT, TINY)).eval()
    latents = codec.encode(pictures)
    assert latents.shape == (2, 8, 4, 6) and codec.decode(latents).shape == pictures.shape
    base = vae.encode_moments(downscale_image(pictures, 2)).mean
    assert torch.equal(latents[:, :4], base)
    assert torch.equal(codec.decode_base(latents), vae.decode(base).clamp(-1, 1))
    save_codec(tmp_path / "codec.safetensors", codec)
    again = load_codec(tmp_path / "codec.safetensors")
    assert again.config == codec.config
    assert torch.equal(again.decode(latents), codec.decode(latents))
    save_codec(tmp_path / "compact.safetensors", codec, compact=True)
    assert load_codec(tmp_path / "compact.safetensors").decoder is None


def test_the_joint_decoder_starts_as_the_base_decoder_behind_its_first_convolution(vae, pictures):
    codec = DetailAlignedVAE.from_base(vae, CodecConfig(LAYOUT, TINY)).eval()
    latents = vae.encode_moments(pictures).mean
    features = vae.decoder.first_features(latents)
    assert torch.equal(codec.joint.decoder(features), vae.decode(latents))


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"levels": 0}, {"blocks": 0}, {"blocks": 10**9}, {"scale": 0.0}]
)
def test_sizes_that_mean_nothing_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} .*must"):
        replace(TINY, **change)
