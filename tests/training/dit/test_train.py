"""A whole stage-2 run: adapter and full, resumed bit for bit, exported, and refused where it must be."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from davae_core.cli.commands import main
from davae_core.codec.files import load_codec, save_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import read_safetensors
from davae_core.flow import sample_euler, shifted_sigmas
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.description import DESCRIPTION
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.fingerprint import same_base
from davae_core.transformer.merging import merge
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from tests.training.dit_fixtures import (
    SIZES,
    copy_of,
    rewrite_shard,
    write_base_transformer,
    write_cache,
    write_davae,
    write_davae_cache,
    write_settings,
)
from training.cache.head import read_head, write_head
from training.cache.shard_files import shard_path
from training.dit.config import DitTrainingConfig
from training.dit.denoiser import Denoiser
from training.dit.drawing import SamplingPlan, _under
from training.dit.train import DitTraining, train_dit
from training.dit.transformer import build_transformer
from training.dit.validation import measure_velocity
from training.engine.checkpointing import MODEL
from training.engine.loop import run_to
from training.engine.processes import make_accelerator
from training.engine.randomness import Stream, sample_noise
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config


def dit_path(config):
    return Path(config.output.folder)


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if "state" not in path.name and path.name != "SHA256SUMS"
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter's whole run, for the tests that only look at what it left."""
    folder = tmp_path_factory.mktemp("trained")
    davae = write_davae(folder)
    config = write_settings(
        folder, davae, write_davae_cache(folder, davae), write_base_transformer(folder)
    )
    training = DitTraining(read_config(DitTrainingConfig, config))
    assert run_to(training) == folder / "run" / "result.safetensors"
    return training


def test_an_adapter_is_trained_validated_drawn_and_written(trained):
    folder, model = trained.folder, trained.config.model
    adapter = read_adapter(folder / "result.safetensors")
    assert adapter.advice.shift == 4.0 and adapter.advice.steps == 2
    assert adapter.advice.trained == ((16, 16), (24, 16))
    assert same_base(adapter.parents["base"], load_transformer(Path(model.base)))
    assert adapter.parents["vae"] == encoding_hash(Path(model.vae))
    assert any(edge.any() for edge in adapter.edges.values())
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "step_00000004_full.png", "step_00000004_draft.png",
    }  # fmt: skip
    found = read_log(folder, "validation")
    assert [record["step"] for record in found] == [2, 4]
    assert all({"velocity", "base", "detail"} <= set(record) for record in found)
    checkpoint = {path.name for path in (folder / "checkpoints" / "step_00000004").iterdir()}
    assert {"result.safetensors", "result_live.safetensors"} <= checkpoint


def test_an_adapter_that_a_kill_kept_out_of_a_checkpoint_is_written_when_the_run_goes_on(
    dit_config, tmp_path
):
    config = dit_config(train__steps=2, validation__cache=None, validation__samples_every=0)
    train_dit(config)
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000002"
    written = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    (checkpoint / "result_live.safetensors").unlink()
    train_dit(config)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == written


def test_the_merged_live_adapter_gives_the_trained_velocity(trained):
    base = load_transformer(Path(trained.config.model.base))
    merged = dict(merge(base, read_adapter(trained.folder / "result_live.safetensors")))
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
        expected = trained.denoiser.transformer.eval()(**inputs, return_dict=False)[0]
        torch.testing.assert_close(
            model(**inputs, return_dict=False)[0], expected, atol=1e-5, rtol=1e-4
        )


def test_davae_merge_takes_a_result_as_it_is(trained, tmp_path):
    base, written = trained.config.model.base, trained.folder / "result.safetensors"
    path = tmp_path / "merged.safetensors"
    assert main(["merge", base, str(written), "-o", str(path)]) == 0
    found, _ = read_safetensors(path)
    del found[DESCRIPTION]
    expected = merge(load_transformer(Path(base)), read_adapter(written))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert expected["x_embedder.proj.weight"].shape[1] == 32


def test_a_validation_measured_again_gives_the_same_bits(trained):
    logged = read_log(trained.folder, "validation")[-1]
    train, model = trained.config.train, trained.denoiser.eval()
    accelerator = make_accelerator(train.device, train.precision)
    torch.manual_seed(1)
    with trained.average.applied():
        found = [
            measure_velocity(model, trained.held_out, trained.layout, accelerator, trained.texts)
            for _ in range(2)
        ]
    assert found[0] == found[1] == {name: logged[name] for name in found[0]}
    assert set(found[0]) == {"velocity", "base", "detail"}


def test_the_adapter_holds_averaged_weights_beside_the_live_ones(trained):
    averaged, live = (
        read_adapter(trained.folder / f"{name}.safetensors") for name in ("result", "result_live")
    )
    assert averaged.lora.keys() == live.lora.keys()
    assert any(not torch.equal(tensor, live.lora[name]) for name, tensor in averaged.lora.items())


def test_the_detail_weight_rises_along_its_ramp(trained):
    weights = [record["detail_weight"] for record in read_log(trained.folder, "train")]
    assert weights == pytest.approx([0.0, 0.1464466, 0.5, 0.8535534])


@pytest.mark.parametrize(
    "changes", [{}, {"train__accumulate": 2, "optimizer__kind": "muon"}, {"model__train": "full"}]
)
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(dit_config, changes):
    changes = {**changes, "validation__samples_every": 0}
    whole = dit_config("whole", **changes)
    train_dit(whole)
    broken = dit_config("broken", **changes)
    assert train_dit(broken, stop_at=2) is None
    train_dit(broken)
    last = "checkpoints/step_00000004"
    assert contents(dit_path(whole) / last) == contents(dit_path(broken) / last)
    assert (dit_path(whole) / "result.safetensors").read_bytes() == (
        dit_path(broken) / "result.safetensors"
    ).read_bytes()


QUIET = {"validation__cache": None, "validation__samples_every": 0}


def test_a_run_is_looked_at_before_its_first_step_once_and_that_changes_no_bit(dit_config):
    looked = dit_config("looked", validation__at_start=True)
    assert train_dit(looked, stop_at=1) is None
    first = {
        path.name: path.stat().st_mtime_ns for path in (dit_path(looked) / "pictures").iterdir()
    }
    assert set(first) == {"step_00000000_full.png", "step_00000000_draft.png"}
    written = train_dit(looked)
    assert [found["step"] for found in read_log(written.parent, "validation")] == [0, 2, 4]
    for name, when in first.items():
        assert (written.parent / "pictures" / name).stat().st_mtime_ns == when
    assert written.read_bytes() == train_dit(dit_config("unseen")).read_bytes()


def test_before_the_first_step_the_draft_is_what_the_pretrained_model_draws(dit_config):
    training = DitTraining(dit_config("joint", validation__at_start=True))
    joint = training._drawn_latents()[:, :16]
    texts = [text for _, text in training.prompts]
    plan = SamplingPlan(4.0, 2, 2.5, *training.data.commonest_size)
    plain = build_transformer(replace(training.config.model, train="full"), training.base, 16, 0)
    noise = sample_noise(0, range(2), (32, plan.height, plan.width), Stream.SAMPLE)[:, :16]
    velocities = [_under(Denoiser(plain.eval()), part, noise.device)
                  for part in (texts, [training.empty] * 2)]  # fmt: skip
    with torch.no_grad():
        expected = sample_euler(velocities[0], noise, shifted_sigmas(2, 4.0), 2.5, velocities[1])
    torch.testing.assert_close(joint, expected, atol=1e-5, rtol=1e-5)


def test_the_log_opens_with_what_will_happen_and_says_how_fast_it_goes(dit_config, caplog):
    caplog.set_level(logging.INFO)
    config = dit_config(**QUIET, train__batch_size=2, train__accumulate=2)
    training = DitTraining(config)
    trained = sum(weight.numel() for weight in training.parts[MODEL].weights().values())
    whole = sum(value.numel() for value in training.denoiser.parameters())
    written = run_to(training)
    said = f"training {trained:,} of {whole:,} parameters on 6 pictures, 4 samples per step, steps 1 to 4 (cpu)"
    assert caplog.messages.count(said) == 1
    lines = read_log(written.parent, "train")
    assert all(line["samples_per_second"] > 0 for line in lines)
    left = [line["seconds_left"] for line in lines]
    assert left[0] >= left[-1] == 0
    assert not any("peak_gpu_gib" in line for line in lines)


def test_what_takes_long_between_the_steps_has_a_bar(dit_config, capsys):
    train_dit(dit_config(train__steps=2, validation__samples_every=2))
    said = capsys.readouterr().err
    assert "measuring: " in said and "drawing: " in said


def test_pictures_and_settings_go_to_tensorboard(dit_config):
    config = dit_config(validation__cache=None, output__tensorboard=True, validation__at_start=True)
    written = train_dit(config)
    events = EventAccumulator(str(written.parent / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["pictures/draft", "pictures/full"]
    assert [image.step for image in events.Images("pictures/full")] == [0, 4]
    drawn = Image.open(written.parent / "pictures" / "step_00000004_full.png")
    shown = events.Images("pictures/full")[-1]
    assert (shown.width, shown.height) == drawn.size
    (text,) = events.Tensors("configuration/text_summary")
    assert b"optimizer.learning_rate: 0.01" in text.tensor_proto.string_val[0]


def test_a_finished_run_of_a_constant_rate_is_prolonged_bit_for_bit(dit_config):
    constant = {**QUIET, "optimizer__final_ratio": 1.0, "loss__ramp_steps": 2}
    whole = train_dit(dit_config("whole", train__steps=4, **constant))
    train_dit(dit_config("grown", train__steps=3, **constant))
    grown = train_dit(dit_config("grown", train__steps=4, **constant))
    assert grown.read_bytes() == whole.read_bytes()
    last = "checkpoints/step_00000004"
    assert contents(grown.parent / last) == contents(whole.parent / last)
    with pytest.raises(TrainingError, match=r"train\.steps is 3, but the checkpoint is of step 4"):
        DitTraining(dit_config("grown", train__steps=3, **constant))


def test_a_run_goes_on_with_other_factors_of_as_many_samples_per_step(
    dit_config, davae, tmp_path, caplog
):
    cache = str(write_cache(tmp_path / "even", davae, True, [(4, 4)] * 4))
    changes = {**QUIET, "data__caches": [cache], "optimizer__learning_rate": 1e-4}
    train_dit(dit_config("run", train__batch_size=4, **changes), stop_at=2)
    caplog.set_level(logging.INFO)
    written = train_dit(dit_config("run", train__batch_size=2, train__accumulate=2, **changes))
    assert "train.accumulate is 2 from here on, 1 before" in caplog.text
    samples = [record["samples"] for record in read_log(written.parent, "train")]
    assert samples == [4, 8, 12, 16]


def test_the_adapters_of_all_checkpoints_are_kept_and_optimizer_states_of_the_last(dit_config):
    config = dit_config(**QUIET, output__checkpoint_every=1, output__keep=1)
    folder = train_dit(config).parent / "checkpoints"
    assert len(sorted(folder.iterdir())) == 4
    assert all(read_adapter(step / "result_live.safetensors").lora for step in folder.iterdir())
    states = sorted(path.parent.name for path in folder.glob("*/model_optimizer.safetensors"))
    assert states == ["step_00000004"]


def test_a_validation_that_a_run_was_killed_before_is_made_up_for(dit_config, monkeypatch):
    config = dit_config("killed", validation__samples_every=0, validation__every=4)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("training.dit.train.measure_velocity", killed)
        train_dit(config)
    assert not read_log(dit_path(config), "validation")
    train_dit(config)
    assert [found["step"] for found in read_log(dit_path(config), "validation")] == [4]


def test_pictures_that_a_run_was_killed_before_are_made_up_for(dit_config):
    config = dit_config("killed", validation__cache=None, validation__samples_every=2)
    train_dit(config, stop_at=2)
    drawn = sorted((dit_path(config) / "pictures").glob("step_00000002*"))
    assert drawn
    for path in drawn:
        path.unlink()
    train_dit(config, stop_at=3)
    assert sorted((dit_path(config) / "pictures").glob("step_00000002*")) == drawn


def test_a_transformer_is_trained_from_nothing_on_a_plain_vae(dit_config, tmp_path, base_vae):
    cache = write_cache(tmp_path / "base_cache", base_vae, False, [(4, 4)] * 4)
    config = dit_config(
        model__base=None, model__vae=str(base_vae), model__train="full", data__caches=[str(cache)],
        validation__cache=copy_of(cache),
    )  # fmt: skip
    written = train_dit(config)
    sizes = transformer_sizes(load_transformer(written))
    assert (sizes.in_channels, sizes.blocks, sizes.pooled_width) == (16, 2, 24)
    assert "detail" not in read_log(written.parent, "train")[0]


def test_a_whole_widened_model_can_be_trained_too(dit_config):
    written = train_dit(dit_config(model__train="full"))
    tensors, _ = read_safetensors(written)
    assert tensors["x_embedder.proj.weight"].shape[1] == 32


def test_recomputed_blocks_change_no_gradient(dit_config):
    results = []
    for count in (0, 1, SIZES["blocks"]):
        config = dit_config(f"recomputed_{count}", train__steps=2, train__recomputed_blocks=count)
        train_dit(config, stop_at=1)
        results.append(read_log(dit_path(config), "train")[0]["gradient_norm"])
    assert results == pytest.approx([results[0]] * 3, rel=1e-5)


def test_a_model_that_diverged_is_left_without_pictures_and_with_a_warning(dit_config, caplog):
    training = DitTraining(dit_config("diverged", validation__cache=None))
    with torch.no_grad():
        for value in training.denoiser.parameters():
            value.fill_(float("nan"))
    training.average.means = training.parts[MODEL].weights()
    training.state.step = training.steps
    assert training.draws_at(training.steps)
    training.look(None)
    assert not list((training.folder / "pictures").glob("*"))
    assert "no pictures after step 4: latents are not finite" in caplog.text


def test_a_latent_with_nan_skips_its_steps_and_is_counted(dit_config, davae, tmp_path, caplog):
    cache = write_cache(tmp_path / "nan", davae, True, [(4, 4)] * 4)
    rewrite_shard(shard_path(cache, 0), lambda tensors: tensors["latent.0"].fill_(float("nan")))
    config = dit_config(data__caches=[str(cache)], validation__cache=None)
    with caplog.at_level(logging.WARNING):
        written = train_dit(config)
    assert "its gradients were not finite" in caplog.text
    state = json.loads(written.with_suffix(".json").read_text())["state"]
    assert state["skipped_steps"] == 2
    assert all(torch.isfinite(t).all() for t in read_adapter(written).edges.values())


def test_a_bucket_with_one_picture_is_repeated_and_mentioned(dit_config, caplog):
    with caplog.at_level(logging.WARNING):
        DitTraining(dit_config())
    assert "the bucket 24x16 holds 1 of 2 pictures" in caplog.text


def test_a_changed_setting_is_named_on_resuming(dit_config):
    train_dit(dit_config(), stop_at=2)
    with pytest.raises(TrainingError, match=r"loss\.shift is 3\.0, but the checkpoint of step 2"):
        train_dit(dit_config(loss__shift=3.0))


def test_a_codec_and_a_cache_that_were_made_anew_are_refused_on_resuming(dit_config, davae):
    config = dit_config()
    result = train_dit(config)
    before = result.read_bytes()
    codec = load_codec(davae)
    with torch.no_grad():
        codec.encoder.conv_in.bias.add_(1.0)
    save_codec(davae, codec)
    for cache in (config.data.caches[0], config.validation.cache):
        shutil.rmtree(cache)
    write_davae_cache(davae.parent, davae)
    with pytest.raises(TrainingError, match=r"data\.caches and model\.vae are of another VAE than"):
        train_dit(config)
    assert result.read_bytes() == before


def test_a_cache_of_other_texts_or_windows_is_refused_on_resuming(dit_config, davae_cache):
    config = dit_config(validation__cache=None, validation__samples_every=0)
    head = read_head(davae_cache)
    head = replace(head, settings={**head.settings, "images.crops": 1, "source.folders": ["a"]})
    write_head(davae_cache, head)
    train_dit(config, stop_at=1)
    for name, value in (("text.source", "another clip"), ("images.crops", 2)):
        write_head(davae_cache, replace(head, settings={**head.settings, name: value}))
        with pytest.raises(TrainingError, match=rf"data\.caches was made with {name} = {value!r}"):
            DitTraining(config)
    moved = replace(head, settings={**head.settings, "source.folders": ["b"], "vae.file": "c"})
    write_head(davae_cache, moved)
    assert DitTraining(config).state.step == 1


def test_a_checkpoint_from_before_latents_were_noted_goes_on(dit_config):
    config = dit_config(validation__cache=None, validation__samples_every=0)
    train_dit(config, stop_at=1)
    path = dit_path(config) / "checkpoints" / "step_00000001" / "state.json"
    path.with_name("SHA256SUMS").unlink()
    state = json.loads(path.read_text())
    noted = state.pop("latents")
    path.write_text(json.dumps(state))
    assert noted[0]["text.source"] == "clip"
    assert DitTraining(config).state.latents == noted


def test_a_cache_of_another_vae_is_refused(dit_config, base_vae, davae_cache):
    write_head(davae_cache, replace(read_head(davae_cache), vae_hash="other"))
    with pytest.raises(
        TrainingError, match=r"made with another VAE \(davae\.safetensors\) than model\.vae"
    ):
        DitTraining(dit_config())


def test_caches_of_another_text_length_are_refused(dit_config, davae, davae_cache, tmp_path):
    other = write_cache(tmp_path / "other", davae, True, [(4, 4)] * 2)
    head = read_head(other)
    write_head(
        other, type(head)(**{**vars(head), "settings": {**head.settings, "text.t5_tokens": 256}})
    )
    with pytest.raises(TrainingError, match=r"made with text\.t5_tokens = 0 and 256"):
        DitTraining(dit_config(data__caches=[str(davae_cache), str(other)]))


def test_text_of_another_width_is_refused(dit_config):
    with pytest.raises(TrainingError, match=r"24 pooled channels, but the transformer takes 99"):
        DitTraining(
            dit_config(
                model__base=None,
                model__train="full",
                model__sizes={"pooled_width": 99, "blocks": 1},
            )
        )


def test_an_adapter_needs_detail_channels(dit_config, tmp_path, base_vae):
    cache = write_cache(tmp_path / "base_cache", base_vae, False, [(4, 4)] * 4)
    with pytest.raises(TrainingError, match=r"has no detail channels"):
        DitTraining(
            dit_config(model__vae=str(base_vae), data__caches=[str(cache)], validation__cache=None)
        )


@pytest.mark.usefixtures("compiled_without_a_compiler")
def test_a_compiled_run_resumes_and_ends_where_a_plain_one_does(dit_config, davae, tmp_path):
    # Of one size: every size is traced for itself.
    cache = str(write_cache(tmp_path / "even", davae, True, [(4, 4)] * 4))
    changes = {
        "data__caches": [cache],
        "validation__cache": copy_of(Path(cache)),
        "validation__pictures": 2,
    }
    changes |= {"optimizer__learning_rate": 1e-4, "train__steps": 2, "validation__samples_every": 0}
    changes |= {"output__checkpoint_every": 1, "validation__every": 1}
    plain = train_dit(dit_config("plain", **changes))
    config = dit_config("compiled", train__compile=True, **changes)
    assert train_dit(config, stop_at=1) is None
    compiled = train_dit(config)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    ours, theirs = read_adapter(compiled), read_adapter(plain)
    for found, wanted in ((ours.lora, theirs.lora), (ours.edges, theirs.edges)):
        assert found.keys() == wanted.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, wanted[name], atol=1e-5, rtol=0)
    errors = [
        [record["velocity"] for record in read_log(written.parent, "validation")]
        for written in (compiled, plain)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)
    saved, _ = read_safetensors(compiled.parent / "checkpoints/step_00000002/model.safetensors")
    assert not any("_orig_mod" in name for name in saved)
