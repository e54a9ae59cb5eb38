"""Files of class-conditional models: written, read back, and refused with a sentence; published ones of both kinds."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from davae_core.inspection import inspect_file
from davae_core.latents import ModelSpace
from davae_core.lightning.description import ClassAdvice
from davae_core.lightning.files import (
    build_lightning,
    read_class_model,
)
from davae_core.lightning.sizes import lightning_sizes
from davae_core.published.lightning import load_lightning, load_statistics
from tests.davae_core.lightning.tiny import LAYOUT, MODEL, TINY, random_weights, write_tiny


@pytest.fixture
def written(tmp_path):
    return write_tiny(tmp_path / "model.safetensors")


def test_a_file_comes_back_whole(written):
    found = read_class_model(written)
    assert (found.layout, found.sizes, found.advice, found.parents) == (
        LAYOUT, TINY, ClassAdvice(steps=7), {"vae": "ab"},
    )  # fmt: skip
    assert torch.equal(found.statistics.mean, MODEL.statistics.mean)
    assert found.weights.keys() == MODEL.weights.keys()
    assert all(torch.equal(found.weights[name], MODEL.weights[name]) for name in found.weights)


def test_davae_inspect_tells_of_it(written):
    report = inspect_file(written)
    assert report.kind == "class_model"
    assert "a class-conditional model" in report.lines[0]
    assert any("3 classes" in line and "4x4 tokens" in line for line in report.lines)


def rewritten(path, **changes):
    tensors, metadata = read_safetensors(path)
    tensors.update(changes)
    write_safetensors(path, {k: v for k, v in tensors.items() if v is not None}, metadata)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent.std": None}, "damaged"),
        ({"latent.std": torch.zeros(6)}, "damaged"),
        ({"latent.mean": torch.zeros(5)}, "damaged"),
        ({"pos_embed": torch.zeros(1, 9, 32)}, "pos_embed"),
        ({"blocks.1.attn.qkv.bias": None}, "lacks blocks.1.attn.qkv.bias"),
        ({"extra": torch.zeros(1)}, "has beside a LightningDiT's tensors extra"),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(written, changes, words):
    rewritten(written, **changes)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_class_model(written)
    assert str(written) in str(caught.value) and str(caught.value).endswith(".")


def test_another_kind_of_file_is_named(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="an unknown kind of file, not a class-conditional"):
        read_class_model(path)
    with pytest.raises(CheckpointError, match="not a LightningDiT"):
        load_lightning(path)


def test_a_published_pickle_is_read_without_running_it(tmp_path):
    path, average = tmp_path / "published.pt", random_weights(TINY, seed=1)
    wrapped = {f"module.{name}": tensor for name, tensor in MODEL.weights.items()}
    torch.save({"model": wrapped, "ema": average, "config": {"a": 1}}, path)
    for part, wanted in (("model", MODEL.weights), ("ema", average)):
        found = load_lightning(path, part)
        assert found.sizes == TINY and found.statistics is None
        assert all(torch.equal(found.weights[name], wanted[name]) for name in wanted)
    torch.save({"ema": average}, path)
    assert torch.equal(load_lightning(path).weights["pos_embed"], average["pos_embed"])


def test_safetensors_of_the_published_names_and_own_files_are_read_too(tmp_path, written):
    path = tmp_path / "plain.safetensors"
    save_file({k: v for k, v in MODEL.weights.items() if "feat_rope" not in k}, path)
    found = load_lightning(path)
    latents, time, label = torch.randn(1, 6, 4, 4), torch.tensor([0.4]), torch.tensor([0])
    one, other = (
        build_lightning(TINY, weights)(latents, time, label)
        for weights in (found.weights, MODEL.weights)
    )
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.equal(load_lightning(written).statistics.std, MODEL.statistics.std)


def test_what_holds_code_or_no_lightningdit_is_refused(tmp_path):
    path = tmp_path / "code.pt"
    torch.save({"model": {"x": torch.nn.Linear(1, 1)}}, path)
    with pytest.raises(CheckpointError, match="never run"):
        load_lightning(path)
    torch.save({"model": {"x": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match=r"is no LightningDiT \(.*missing\)"):
        load_lightning(path)


def test_heads_that_nothing_tells_are_refused():
    weights = random_weights(replace(TINY, normed=False))
    with pytest.raises(ValueError, match="nothing tells its heads"):
        lightning_sizes(weights)
    assert lightning_sizes(weights, heads=2) == replace(TINY, normed=False)


def test_published_statistics_are_read_and_checked(tmp_path):
    path = tmp_path / "latents_stats.pt"
    torch.save({"mean": torch.ones(1, 6, 1, 1), "std": torch.full((1, 6, 1, 1), 2.0)}, path)
    found = load_statistics(path, 6)
    assert found.mean.tolist() == [1.0] * 6 and found.std.tolist() == [2.0] * 6
    with pytest.raises(CheckpointError, match="of 6 channels, not 32"):
        load_statistics(path, 32)
    torch.save({"mean": torch.ones(6)}, path)
    with pytest.raises(CheckpointError, match="no mean and std"):
        load_statistics(path, 6)


def test_statistics_lead_into_model_space_and_back():
    space = ModelSpace(LAYOUT, MODEL.statistics)
    latents = torch.randn(2, 6, 3, 3)
    entered = space.enter(latents)
    assert torch.allclose(entered[:, 1], (latents[:, 1] - 1) / 2)
    assert torch.allclose(space.leave(entered), latents, atol=1e-6)
