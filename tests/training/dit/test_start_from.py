"""A run that starts from an adapter begins where that one ends, and refuses what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from davae_core.transformer.adapter import read_adapter, write_adapter
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.merging import merge
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from tests.training.dit_fixtures import (
    write_base_transformer,
    write_davae,
    write_davae_cache,
    write_settings,
)
from training.__main__ import main
from training.dit.config import DitTrainingConfig
from training.dit.edges import fill_edges, fused_edges
from training.dit.train import DitTraining, train_dit
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config

QUIET = {"validation__cache": None, "validation__samples_every": 0}
MODES = {"joint": {}, "detail": {"train__mode": "detail", "loss__ramp_steps": 0}}


@pytest.fixture(scope="module", params=MODES)
def first(request, tmp_path_factory):
    """A finished run in either mode: its folder, and what makes configurations beside it."""
    folder = tmp_path_factory.mktemp("first")
    davae = write_davae(folder)
    cache, base = write_davae_cache(folder, davae), write_base_transformer(folder)

    def write(name, **changes):
        changes = {**MODES[request.param], **QUIET, **changes}
        return write_settings(folder, davae, cache, base, name, **changes)

    train_dit(read_config(DitTrainingConfig, write("first", optimizer__final_ratio=1.0)))
    return folder / "first", write


def following(first, name="second", adapter="result_live.safetensors", **changes):
    folder, write = first
    changes = {"model__start_from": str(folder / adapter), "loss__ramp_steps": 0, **changes}
    return write(name, **changes)


def read(path):
    return read_config(DitTrainingConfig, path)


def test_it_begins_with_the_velocity_of_the_adapter(first):
    training = DitTraining(read(following(first)))
    assert training.state.step == 0
    base = load_transformer(Path(training.config.model.base))
    adapter = read_adapter(first[0] / "result_live.safetensors")
    merged = dict(merge(base, adapter))
    model = diffusers_transformer(transformer_sizes(merged)).eval()
    model.load_state_dict(stability_to_diffusers(merged, model.state_dict()))
    torch.manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(2, 32, 4, 6),
        "encoder_hidden_states": torch.randn(2, 5, 32),
        "pooled_projections": torch.randn(2, 24),
        "timestep": torch.tensor([100.0, 900.0]),
    }
    with torch.no_grad():
        found = training.denoiser.transformer.eval()(**inputs, return_dict=False)[0]
        torch.testing.assert_close(
            model(**inputs, return_dict=False)[0], found, atol=1e-5, rtol=1e-4
        )


def test_what_it_writes_before_a_step_is_the_adapter_it_started_from(first, tmp_path):
    training = DitTraining(read(following(first, "unmoved")))
    training.write_result(tmp_path / "again.safetensors", training.contents())
    again = read_adapter(tmp_path / "again.safetensors")
    before = read_adapter(first[0] / "result_live.safetensors")
    for ours, theirs in ((again.lora, before.lora), (again.edges, before.edges)):
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], atol=1e-6, rtol=0)


def test_it_trains_with_the_whole_weight_of_the_detail_and_resumes(first):
    config = read(following(first, "trained"))
    assert train_dit(config, stop_at=2) is None
    written = train_dit(config)
    assert all(
        record.get("detail_weight", 1.0) == 1.0 for record in read_log(written.parent, "train")
    )
    before = read_adapter(first[0] / "result_live.safetensors").lora
    assert any(not torch.equal(t, before[n]) for n, t in read_adapter(written).lora.items())


REFUSED = [
    ({"model__start_from": "nowhere.safetensors"}, r"model\.start_from names nowhere\.safetensors"),
    ({"model__lora": {"rank": 2, "alpha": 8}}, r"set model\.lora\.rank to that adapter's"),
    (
        {"model__lora": {"rank": 4, "alpha": 8, "targets": ["to_q"]}},
        r"has beside what trains .*set model\.lora\.targets",
    ),
    (
        {"model__lora": {"rank": 4, "alpha": 8, "targets": ["wide"]}},
        r"lacks context_embedder.*set model\.lora\.targets",
    ),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_does_not_fit_is_refused_by_run_and_dry_run(first, capsys, changes, words):
    path = following(first, "refused", **changes)
    with pytest.raises(TrainingError, match=words) as caught:
        DitTraining(read(path))
    assert main(["dit", str(path), "--dry-run"]) == 1
    assert capsys.readouterr().err == f"{caught.value}\n"


def test_an_adapter_of_another_base_codec_or_mode_is_refused(first, tmp_path):
    adapter = read_adapter(first[0] / "result.safetensors")
    base = {
        n: t + 1
        for n, t in load_transformer(first[0].parent / "base_transformer.safetensors").items()
    }
    parents = adapter.parents
    others = {
        "on another base than": replace(
            adapter, parents={**parents, "base": base_fingerprint(base)}
        ),
        "for another DA-VAE than": replace(adapter, parents={**parents, "vae": "0" * 64}),
        "draws in the mode": replace(
            adapter, mode="joint" if adapter.mode == "detail" else "detail"
        ),
    }
    for words, other in others.items():
        write_adapter(tmp_path / "other.safetensors", other)
        changes = {"model__start_from": str(tmp_path / "other.safetensors")}
        with pytest.raises(TrainingError, match=rf"model\.start_from .*{words}"):
            DitTraining(read(following(first, "other", **changes)))


def test_settings_that_cannot_go_with_it_are_refused(dit_config):
    start = {"model__start_from": "adapter.safetensors"}
    with pytest.raises(TrainingError, match=r"loss\.ramp_steps is 2, but model\.start_from"):
        dit_config(loss__ramp_steps=2, **start)
    with pytest.raises(
        TrainingError, match=r"model\.start_from names an adapter, but model\.train"
    ):
        dit_config(model__train="full", loss__ramp_steps=0, **start)


def test_a_dry_run_of_it_counts(first, capsys):
    assert main(["dit", str(following(first, "dry")), "--dry-run"]) == 0
    assert "Trainable parameters" in capsys.readouterr().out


def test_edges_filled_with_what_was_fused_are_the_same_function(first):
    model = DitTraining(read(following(first, "edges"))).denoiser.transformer
    weights = {n: t.detach().clone() for n, t in model.state_dict().items() if "proj" in n}
    edges = {n: t for n, t in weights.items() if n.startswith(("pos_embed.proj.", "proj_out."))}
    before = fused_edges(edges)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith(("pos_embed.proj.", "proj_out.")):
                value.normal_()
    fill_edges(model, before)
    after = fused_edges({name: model.state_dict()[name] for name in edges})
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)
