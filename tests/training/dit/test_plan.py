"""The dry run counts what the run would train, and writes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.dit_fixtures import SIZES
from training.__main__ import main
from training.cache.head import read_head, write_head
from training.dit.plan import plan_run
from training.dit.train import DitTraining, train_dit


def bytes_of(tensors):
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("mode", ["joint", "detail"])
def test_the_plan_counts_what_the_run_trains(dit_config, mode):
    config = dit_config(train__mode=mode, loss__ramp_steps=0, validation__samples_every=0)
    plan = plan_run(config)
    parameters = list(DitTraining(config).denoiser.parameters())
    assert plan.trainable == sum(p.numel() for p in parameters if p.requires_grad)
    assert plan.frozen == sum(p.numel() for p in parameters if not p.requires_grad)
    assert (plan.pictures, plan.picture_tokens, plan.text_tokens) == (6, 6, 5)
    assert plan.steps_per_epoch == 4.0


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_memory_of_weights_is_that_of_the_tensors_a_run_holds(dit_config, kind):
    config = dit_config(optimizer__kind=kind, validation__cache=None, validation__samples_every=0)
    train_dit(config, stop_at=1)
    (checkpoint,) = (Path(config.output.folder) / "checkpoints").iterdir()
    held = {path.name: load_file(path) for path in checkpoint.glob("*.safetensors")}
    weights = bytes_of(held["model.safetensors"])
    states = bytes_of(held["model_optimizer.safetensors"]) + bytes_of(held["average.safetensors"])
    plan = plan_run(config)
    # Each gradient is as large as its weight; the optimizer's counters are not worth counting.
    table = DitTraining(config).denoiser.transformer.pos_embed.pos_embed
    held = plan.frozen * 4 + 2 * weights + states + table.nbytes
    assert plan.weights_bytes == pytest.approx(held, rel=0.01)


def test_the_table_of_positions_counts(dit_config):
    # SD3.5's has 864 MiB.
    plans = [plan_run(dit_config(model__base=None, model__train="full", model__sizes={**SIZES, "positions": side}))
             for side in (8, 16)]  # fmt: skip
    width = 64 * SIZES["blocks"]
    assert plans[1].weights_bytes - plans[0].weights_bytes == (16**2 - 8**2) * width * 4


def test_bf16_halves_what_is_frozen(dit_config):
    whole, half = (plan_run(dit_config(train__precision=kind)) for kind in ("fp32", "bf16"))
    assert whole.weights_bytes - half.weights_bytes == 2 * whole.frozen


def test_a_recomputed_block_keeps_its_input_and_one_is_whole_at_a_time(dit_config):
    none, one, both = (
        plan_run(dit_config(train__recomputed_blocks=count)).activations_bytes for count in range(3)
    )
    whole = none / 2
    assert none > both > one
    assert both - one == one - whole == whole / 30


def test_a_dry_run_only_talks(write_dit_config, capsys, tmp_path):
    assert main(["dit", str(write_dit_config()), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Trainable parameters:" in said and "Steps per epoch: 4.0" in said
    assert "process" not in said.replace("Memory per process", "")
    assert not Path(tmp_path / "run").exists()


def test_a_dry_run_counts_the_processes_it_is_launched_on_and_speaks_once(
    write_dit_config, capsys, monkeypatch
):
    command = ["dit", str(write_dit_config()), "--dry-run"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(command) == 0
        said.append(capsys.readouterr().out)
    assert "Steps per epoch: 3.0 over 6 pictures with 2 processes." in said[0]
    assert "This memory is for the whole model in every process" in said[0]
    assert said[1] == ""


def test_text_encoders_that_a_run_needs_in_memory_are_mentioned(dit_config, davae_cache):
    assert "text encoders" not in " ".join(plan_run(dit_config()).lines())
    head = read_head(davae_cache)
    write_head(davae_cache, replace(head, settings={**head.settings, "text.states": "live"}))
    assert "the text encoders are in memory besides" in plan_run(dit_config()).lines()[-1]
