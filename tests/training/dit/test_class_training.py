"""A class-conditional model: exact at its start, resumed, exported with its statistics, and refused with sentences."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from davae_core.latents import ModelSpace
from davae_core.lightning.description import ClassAdvice
from davae_core.lightning.files import build_lightning, read_class_model
from tests.training.class_fixtures import CLASSES, write_class_run
from tests.training.dit_fixtures import opened
from tests.training.two_processes import on_two_processes, train
from training.cache.class_list import labels_of
from training.cache.latent_cache import LatentCache
from training.dit.class_training import STATISTICS, ClassTraining
from training.dit.config import DitTrainingConfig
from training.dit.plan import plan_run
from training.dit.train import DitTraining, train_dit
from training.dit.validation import ValidationPlan, measure_velocity
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config


def config_of(folder, name, base=True, **changes):
    given = folder / "pretrained.safetensors" if base else None
    return read_config(DitTrainingConfig, write_class_run(folder, name, given, **changes))


def latents_of_all(cache: LatentCache) -> torch.Tensor:
    return torch.stack([cache.read(number)[0][0].float() for number in range(len(cache.pictures))])


def test_the_run_starts_with_the_pretrained_models_velocity(class_stack):
    training = ClassTraining(config_of(class_stack, "start"))
    batch = training.data.batch(0)
    latents, sigma = training.space.enter(batch.latents.float()), torch.rand(4)
    noise, share = torch.randn_like(latents), sigma[:, None, None, None]
    noised = (1 - share) * latents + share * noise
    labels = labels_of(batch.text)
    pretrained = read_class_model(class_stack / "pretrained.safetensors")
    plain = build_lightning(pretrained.sizes, pretrained.weights)
    with torch.no_grad():
        found = training.denoiser(noised, sigma, labels)
        wanted = -plain(noised[:, :16], 1 - sigma, labels)
    assert wanted.abs().mean() > 0.01
    assert torch.allclose(found[:, :16], wanted, atol=1e-6, rtol=1e-6)
    assert not found[:, 16:].any()


def test_every_channel_has_mean_0_and_deviation_1_and_the_base_has_the_pretrained_ones(class_stack):
    cache = opened(class_stack / "base_cache")
    fresh = ClassTraining(config_of(class_stack, "fresh", base=False))
    entered = ModelSpace(cache.head.layout, fresh.statistics).enter(latents_of_all(cache))
    assert torch.allclose(entered.mean(dim=(0, 2, 3)), torch.zeros(16), atol=1e-4)
    assert torch.allclose(entered.std(dim=(0, 2, 3)), torch.ones(16), atol=1e-4)
    pretrained = read_class_model(class_stack / "pretrained.safetensors").statistics
    wide = ClassTraining(config_of(class_stack, "wide"))
    assert torch.equal(wide.statistics.mean[:16], pretrained.mean)
    cache = opened(class_stack / "cache")
    entered = ModelSpace(cache.head.layout, wide.statistics).enter(latents_of_all(cache))
    assert torch.allclose(entered[:, 16:].std(dim=(0, 2, 3)), torch.ones(16), atol=1e-4)


def test_a_run_draws_validates_and_leaves_a_model_that_says_how_to_sample_it(class_stack):
    held_out = class_stack / "cache"
    config = config_of(
        class_stack, "whole", validation__samples_every=2, loss__cosine=1.0, train__steps=4
    )
    written = train_dit(config)
    assert written == class_stack / "whole" / "result.safetensors"
    found = read_class_model(written)
    assert found.sizes.classes == len(CLASSES) and found.layout.channels == found.sizes.channels
    assert found.advice == ClassAdvice(3.0, 3, 2.0, 0.8)
    assert found.parents["vae"] == LatentCache(held_out, False).head.vae_hash
    pictures = sorted(path.name for path in (class_stack / "whole" / "pictures").glob("*.png"))
    assert pictures[-2:] == ["step_00000004_draft.png", "step_00000004_full.png"]
    lines = read_log(class_stack / "whole", "train")
    assert [line["detail_weight"] for line in lines] == pytest.approx([0, 0.5, 1, 1])
    for line in lines:
        assert {"base", "detail", "cosine", "loss"} <= line.keys()
        share = line["detail_weight"]
        weighed = (16 * line["base"] + share * 16 * line["detail"]) / (16 + 16 * share)
        assert line["loss"] == pytest.approx(weighed + line["cosine"], rel=1e-4)
    run = ClassTraining(config)
    cache = opened(held_out)
    plan = ValidationPlan(cache, 4, 2, 1.0, statistics=run.statistics)
    measured = measure_velocity(run.denoiser, plan, run.layout, Accelerator(cpu=True), run.texts)
    assert measured.keys() == {"velocity", "base", "detail"}


RUNS = {
    "from nothing": {"base": False},
    "widened": {},
    "the published loss": {"loss__cosine": 1.0, "model__lightning": {"weights": "ema"}},
    "recomputed blocks": {"train__recomputed_blocks": 1},
    "bf16": {"train__precision": "bf16"},
    "from files": {"data__in_memory": False},
}


def left_by(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.safetensors"))
        if "step_00000001" not in path.parts
    }


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
def test_every_class_run_is_resumed_bit_for_bit(class_stack, changes, tmp_path):
    whole, parted = (
        config_of(class_stack, name, output__folder=str(tmp_path / name), **changes)
        for name in ("whole", "parted")
    )
    assert train_dit(whole) is not None
    assert train_dit(parted, stop_at=1) is None
    assert train_dit(parted) is not None
    found = left_by(tmp_path / "whole")
    assert len(found) >= 4 and left_by(tmp_path / "parted") == found


def test_a_run_goes_on_with_the_statistics_it_began_with(class_stack, tmp_path):
    folder = str(tmp_path / "run")
    began = config_of(class_stack, "began", output__folder=folder)
    assert train_dit(began, stop_at=1) is None
    kept = ClassTraining(began).statistics
    # As if the caches had had other pictures then.
    path = tmp_path / "run" / STATISTICS
    tensors, _ = read_safetensors(path)
    write_safetensors(path, {**tensors, "mean": tensors["mean"] + 1}, {})
    assert torch.equal(ClassTraining(began).statistics.mean, kept.mean + 1)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert torch.equal(ClassTraining(began).statistics.mean, kept.mean)


def test_two_processes_train_what_one_does(class_stack, tmp_path, one_thread):
    written = {}
    for name, batch in (("one", 4), ("two", 2)):
        path = write_class_run(
            class_stack,
            name,
            class_stack / "pretrained.safetensors",
            train__batch_size=batch,
            output__folder=str(tmp_path / name),
        )
        if name == "one":
            train(path)
        else:
            on_two_processes(train, path)
        written[name] = read_class_model(tmp_path / name / "result.safetensors").weights
    for name, tensor in written["one"].items():
        assert torch.allclose(tensor, written["two"][name], atol=1e-3), name


def test_a_dry_run_counts_the_widened_model(class_stack):
    config = config_of(class_stack, "plan")
    plan = plan_run(config)
    parameters = ClassTraining(config).denoiser.parameters()
    assert plan.trainable == sum(p.numel() for p in parameters if p.requires_grad)
    assert (plan.picture_tokens, plan.text_tokens) == (16, 0)


def test_norms_can_be_added_to_a_base_without_and_that_is_said(class_stack, caplog):
    bare = config_of(class_stack, "bare", base=False, model__lightning__qk_norm=False)
    written = train_dit(bare)
    config = config_of(class_stack, "added")
    config = replace(config, model=replace(config.model, base=str(written)))
    with caplog.at_level(logging.WARNING):
        training = ClassTraining(config)
    assert training.sizes.normed and "does not start from exactly that model" in caplog.text


def test_a_published_file_with_its_statistics_is_a_base(class_stack, tmp_path):
    own = read_class_model(class_stack / "pretrained.safetensors")
    torch.save({"model": own.weights, "ema": own.weights}, tmp_path / "published.pt")
    mean, std = torch.full((1, 16, 1, 1), 0.5), torch.ones(1, 16, 1, 1)
    torch.save({"mean": mean, "std": std}, tmp_path / "stats.pt")
    config = config_of(class_stack, "published", model__base=str(tmp_path / "published.pt"))
    measured = ClassTraining(config).statistics
    assert not torch.allclose(measured.mean[:16], torch.full((16,), 0.5))
    told = replace(config.model.lightning, statistics=str(tmp_path / "stats.pt"))
    config = replace(config, model=replace(config.model, lightning=told))
    assert ClassTraining(config).statistics.mean[:16].tolist() == [0.5] * 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__train": "adapter"}, "trained whole"),
        ({"model__zero_init": False}, "start at zero"),
        ({"model__lightning__qk_norm": False}, "has norms of queries and keys"),
        ({"base": False, "model__lightning__width": 30}, "no multiple of four times 2 heads"),
        ({"base": False, "model__lightning__patch": 3}, "one square grid of patches of 3"),
        ({"model__base": "davae.safetensors"}, "not a LightningDiT"),
        ({"model__kind": "sd3", "model__base": None}, "2 pooled channels"),
        ({"model__lightning__statistics": "no.pt"}, "does not exist"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(class_stack, monkeypatch, changes, words):
    monkeypatch.chdir(class_stack)
    with pytest.raises((TrainingError, CheckpointError), match=words) as caught:
        config = config_of(class_stack, "refused", **changes)
        (ClassTraining if config.model.kind == "lightning" else DitTraining)(config)
    assert str(caught.value).endswith(".")


def test_captions_are_no_classes_and_another_list_is_another_cache(class_stack, dit_config):
    captioned = dit_config(model__kind="lightning", model__train="full", model__base=None)
    with pytest.raises(TrainingError, match="which is told classes"):
        ClassTraining(captioned)
    head = json.loads((class_stack / "cache" / "cache.json").read_text())
    assert len(head["settings"]["text.classes"]) == 64
