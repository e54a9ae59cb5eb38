"""Text encoder files: written, read, inspected, and refused when they are something else."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from davae_core import mini
from davae_core.files import CheckpointError
from davae_core.format import shapes_of
from davae_core.inspection import inspect_file
from davae_core.mini.text_encoder import TextConfig, clip_text_model
from davae_core.mini.text_encoder_files import (
    read_text_encoder,
    read_text_encoder_file,
    stored_shapes,
    write_text_encoder,
)

SIZES = TextConfig(16, 2, 2, 32)
TOKENS = torch.tensor([[49406, 320, 2368, 49407]])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    model = clip_text_model(SIZES)
    path = tmp_path_factory.mktemp("text") / "clip.safetensors"
    write_text_encoder(path, model)
    return model, path


@torch.no_grad()
def test_a_file_gives_back_its_model_in_half_precision(written):
    model, path = written
    again = read_text_encoder(path)
    assert read_text_encoder_file(path)[0] == SIZES
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float()), name
    assert torch.allclose(again(TOKENS).text_embeds, model(TOKENS).text_embeds, atol=0.02)


def test_the_listed_tensors_are_those_of_the_model(written):
    assert stored_shapes(SIZES) == shapes_of(written[0].state_dict())


def test_inspect_says_what_it_is_and_which_node_reads_it(written):
    report = inspect_file(written[1])
    text = " ".join(report.lines)
    assert report.kind == "text_encoder" and "a miniature CLIP text encoder" in text
    assert "2 layers of width 16" in text and "Load Miniature CLIP" in text


def rewritten(source, target, tensors=None, **described):
    """The file again with other tensors or other metadata."""
    with safe_open(source, framework="pt") as file:
        found = json.loads(file.metadata()["davae"])
    save_file(tensors or load_file(source), target, {"davae": json.dumps({**found, **described})})
    return target


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"hidden_size": "wide"},
        [1],
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 0,
            "intermediate_size": 32,
        },
    ],
)
def test_damaged_sizes_are_refused(written, tmp_path, sizes):
    path = rewritten(written[1], tmp_path / "damaged.safetensors", text_model=sizes)
    with pytest.raises(CheckpointError, match="damaged DA-VAE metadata"):
        read_text_encoder(path)


def test_tensors_that_are_not_the_described_ones_are_refused(written, tmp_path):
    tensors = load_file(written[1])
    tensors.pop("text_projection.weight")
    path = rewritten(written[1], tmp_path / "less.safetensors", tensors)
    with pytest.raises(CheckpointError, match="other tensors than its metadata"):
        read_text_encoder(path)


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        (
            {"text_model.embeddings.token_embedding.weight": torch.zeros(4, 768)},
            "a CLIP text encoder of width 768, .*CLIPLoader, DualCLIPLoader",
        ),
        ({"encoder.block.0.layer.0.x.weight": torch.zeros(4)}, "a T5 text encoder, .*CLIPLoader"),
        ({"something": torch.zeros(4)}, "an unknown kind of file, .*bundled miniature"),
    ],
)
def test_another_file_is_named_with_what_reads_it(tmp_path, tensors, what):
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=what) as raised:
        read_text_encoder(path)
    assert str(raised.value).count(". ") == 0


def test_a_da_vae_is_refused():
    with pytest.raises(CheckpointError, match="is a DA-VAE, not a miniature CLIP"):
        read_text_encoder(mini.davae_path())
