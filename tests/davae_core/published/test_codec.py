import json
import pickle

import pytest
import torch

from davae_core.codec.files import load_base_vae, load_codec, save_codec
from davae_core.files import CheckpointError
from davae_core.latents import split, to_model_space
from davae_core.published.codec import convert_codec


def converted_codec(source, tmp_path, **arguments):
    save_codec(tmp_path / "converted.safetensors", convert_codec(source, **arguments))
    return load_codec(tmp_path / "converted.safetensors").requires_grad_(False)


def test_latents_and_pictures_agree_with_the_published_code(published_file, expected, tmp_path):
    codec = converted_codec(published_file, tmp_path)
    latents = codec.encode(expected["image"] * 2 - 1)
    base, detail = split(to_model_space(latents, codec.layout), codec.layout)
    torch.testing.assert_close(base, expected["base_scaled"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        torch.cat([detail, base], 1), expected["latent_detail_first"], atol=1e-4, rtol=0
    )
    picture = (codec.decode(latents) + 1) / 2
    torch.testing.assert_close(picture, expected["reconstruction"], atol=1e-4, rtol=0)


def test_the_detail_posterior_agrees_with_the_published_code(published_file, expected, tmp_path):
    moments = converted_codec(published_file, tmp_path).encode_moments(expected["image"] * 2 - 1)
    torch.testing.assert_close(moments.detail.mean, expected["posterior_mean"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        moments.detail.logvar, expected["posterior_logvar"], atol=1e-4, rtol=0
    )


def test_a_trunk_equal_to_the_base_encoder_is_stored_once(published, tmp_path):
    for name in list(published):
        if name.startswith("vae.encoder."):
            published[name] = published[f"original_vae_model.{name}"].clone()
    torch.save({"state_dict": published}, tmp_path / "pytorch_model.bin")
    converted = convert_codec(tmp_path / "pytorch_model.bin")
    assert converted.config.shared_trunk
    assert not any(name.startswith("detail.trunk.") for name in converted.state_dict())


def test_without_statistics_the_detail_stays_as_it_is(published_file, tmp_path):
    (published_file.parent / "latent_norm_stats.json").unlink()
    codec = converted_codec(published_file, tmp_path)
    assert torch.equal(codec.detail.mean, torch.zeros(16)) and torch.equal(
        codec.detail.std, torch.ones(16)
    )


def test_statistics_can_be_given_and_a_zero_std_is_lifted(published_file, tmp_path):
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"mean": [1.0] * 16, "std": [0.0] + [2.0] * 15}))
    codec = converted_codec(published_file, tmp_path, stats=stats)
    assert codec.detail.mean[3] == 1 and codec.detail.std[3] == 2
    assert codec.detail.std[0] == pytest.approx(1e-6)


@pytest.mark.parametrize("text", ["{", "{}", "[1, 2]", '{"mean": ["a"], "std": [1]}'])
def test_damaged_statistics_are_named(published_file, text):
    (published_file.parent / "latent_norm_stats.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"latent_norm_stats\.json is not a statistics file"):
        convert_codec(published_file)


def test_statistics_of_another_width_are_refused(published_file):
    (published_file.parent / "latent_norm_stats.json").write_text(
        json.dumps({"mean": [0.0], "std": [1.0]})
    )
    with pytest.raises(CheckpointError, match="hold 1 channels, the checkpoint 16"):
        convert_codec(published_file)


def test_full_mode_checkpoints_are_recognised_and_refused(published, tmp_path):
    published["dc_down.conv.weight"] = torch.zeros(16, 32, 3, 3)
    published["dc_down.conv.bias"] = torch.zeros(16)
    torch.save(published, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="`full` mode"):
        convert_codec(tmp_path / "pytorch_model.bin")


def test_a_checkpoint_without_its_base_takes_one_from_outside(published, golden, tmp_path):
    own = {
        name: tensor
        for name, tensor in published.items()
        if not name.startswith("original_vae_model.")
    }
    torch.save(own, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="--base"):
        convert_codec(tmp_path / "pytorch_model.bin")
    whole = tmp_path / "whole.bin"
    torch.save(published, whole)
    with_base = convert_codec(
        tmp_path / "pytorch_model.bin", base=load_base_vae(golden / "base_vae")
    )
    reference = convert_codec(whole)
    assert with_base.config == reference.config
    given, held = with_base.state_dict(), reference.state_dict()
    assert all(torch.equal(given[name], held[name]) for name in held)


def test_training_leftovers_in_the_checkpoint_are_ignored(published, tmp_path):
    published["discriminator.main.0.weight"] = torch.zeros(3)
    published["encoder_alignment_proj.weight"] = torch.zeros(16, 16, 1, 1)
    torch.save(published, tmp_path / "pytorch_model.bin")
    converted = convert_codec(tmp_path / "pytorch_model.bin")
    assert not any(
        "discriminator" in name or "alignment" in name for name in converted.state_dict()
    )


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_code_in_a_pickle_never_runs(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(pickle.dumps({"dc_up.conv.weight": Evil()}))
    with pytest.raises(CheckpointError, match="never run"):
        convert_codec(file)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_damaged_pickles_are_named(tmp_path, content):
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        convert_codec(file)


def test_other_checkpoints_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match="not a published DA-VAE checkpoint"):
        convert_codec(tmp_path / "other.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    with pytest.raises(CheckpointError, match="no weights by name"):
        convert_codec(tmp_path / "list.bin")
    with pytest.raises(CheckpointError, match="does not exist"):
        convert_codec(tmp_path / "missing.bin")


def test_a_damaged_checkpoint_is_refused_before_anything_is_written(published, tmp_path):
    del published["vae.decoder.conv_out.weight"]
    torch.save(published, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin lacks joint\.decoder\.conv_out"):
        convert_codec(tmp_path / "pytorch_model.bin")
