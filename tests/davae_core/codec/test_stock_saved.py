"""A DA-VAE that ComfyUI's own savers wrote: tensors without metadata, the description among them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.codec import stock_saved
from davae_core.codec.files import load_codec, read_codec_file, save_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.codec.stock_saved import DESCRIPTION, codec_metadata, description_tensor
from davae_core.files import CheckpointError
from davae_core.inspection import inspect_file
from davae_core.presets import SD3
from davae_core.transformer.description import DESCRIPTION as MODEL_DESCRIPTION
from davae_core.transformer.description import Advice, ModelDescription
from davae_core.transformer.description import description_tensor as description_of_model

CHECKPOINT = "first_stage_model."


@pytest.fixture
def ours(tiny_codec, tmp_path):
    """A codec in a file of ours."""
    save_codec(tmp_path / "ours.safetensors", tiny_codec)
    return tmp_path / "ours.safetensors"


def saved(ours, prefix="", **others):
    """The same codec as stock savers write it; `others` beside it in the file."""
    path = ours.with_name(f"saved_{len(prefix)}.safetensors")
    told = {DESCRIPTION: description_tensor(codec_metadata(ours))}
    tensors = {**load_file(ours), **told}
    save_file({**{prefix + name: t for name, t in tensors.items()}, **others}, path)
    return path


@pytest.mark.parametrize("prefix", ["", CHECKPOINT])
def test_it_is_the_same_codec_with_the_same_latents(ours, tiny_codec, prefix):
    path = saved(ours, prefix, **({} if not prefix else {"model.x": torch.zeros(2)}))
    again = load_codec(path)
    assert again.config == tiny_codec.config and encoding_hash(path) == encoding_hash(ours)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(again.encode(picture), load_codec(ours).encode(picture))
    # It can be saved once more.
    assert codec_metadata(path) == codec_metadata(ours)


@pytest.mark.parametrize("prefix", ["", CHECKPOINT])
def test_it_is_inspected_as_what_it_is(ours, prefix):
    found, wanted = inspect_file(saved(ours, prefix)), inspect_file(ours)
    assert found.kind == "vae" and found.lines[1 : len(wanted.lines)] == wanted.lines[1:]
    assert found.lines[0].partition("is a DA-VAE")[2] == wanted.lines[0].partition("is a DA-VAE")[2]
    assert any("models/checkpoints" in line for line in found.lines) == bool(prefix)


def test_a_davae_model_in_the_same_checkpoint_is_told_of(ours):
    model = description_of_model(ModelDescription(SD3.layout, Advice(sizes=(1024,))))
    others = {f"model.diffusion_model.{MODEL_DESCRIPTION}": model}
    lines = inspect_file(saved(ours, CHECKPOINT, **others)).lines
    assert any("a DA-VAE model" in line for line in lines)
    assert any("trained at 1024x1024" in line for line in lines)


def test_a_checkpoint_without_one_is_refused_by_its_header_alone(tmp_path, monkeypatch):
    path = tmp_path / "davae_merged.safetensors"
    save_file({"model.diffusion_model.x": torch.zeros(4)}, path)
    monkeypatch.setattr(stock_saved, "read_tensor", None)  # nothing may be read
    with pytest.raises(CheckpointError, match="not a DA-VAE"):
        read_codec_file(path)


def test_one_that_lost_its_description_is_called_that(ours, tmp_path):
    save_file(load_file(ours), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="is a DA-VAE that lost its description"):
        read_codec_file(tmp_path / "bare.safetensors")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(4),
        torch.zeros(2**17, dtype=torch.uint8),
        torch.tensor([255, 254], dtype=torch.uint8),
        torch.tensor(list(b'{"kind": 3}'), dtype=torch.uint8),
    ],
    ids=["no bytes", "too long", "no text", "no description"],
)
def test_a_damaged_description_is_one_sentence(ours, tmp_path, tensor):
    save_file({**load_file(ours), DESCRIPTION: tensor}, tmp_path / "damaged.safetensors")
    for read in (read_codec_file, encoding_hash, inspect_file):
        with pytest.raises(CheckpointError, match="has damaged DA-VAE metadata"):
            read(tmp_path / "damaged.safetensors")
