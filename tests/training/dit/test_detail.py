"""A stage-2 run whose adapter draws the detail alone: what it learns, draws, measures, writes and refuses."""

from dataclasses import replace

import pytest
import torch

from davae_core.cli.commands import main
from davae_core.flow import shift_sigma
from davae_core.latents import to_model_space
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.description import read_file_description
from davae_core.transformer.presets import UNTRAINED
from tests.training.dit_fixtures import (
    write_base_transformer,
    write_cache,
    write_davae,
    write_davae_cache,
    write_settings,
)
from training.dit.config import DitTextConfig, DitTrainingConfig
from training.dit.drawing import SamplingPlan, draw_detail, draw_latents
from training.dit.texts import texts_on
from training.dit.train import DitTraining, train_dit
from training.dit.validation import LEVELS, measure_velocity
from training.engine.loop import run_to
from training.engine.processes import make_accelerator
from training.engine.randomness import Stream, sample_noise
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config

DETAIL = {
    "train__mode": "detail",
    "loss__ramp_steps": 0,
    "loss__base_noise": 0.05,
    "validation__guidance": 1.0,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole run, for the tests that only look at what it left."""
    folder = tmp_path_factory.mktemp("trained")
    davae = write_davae(folder)
    files = davae, write_davae_cache(folder, davae), write_base_transformer(folder)
    config = write_settings(folder, *files, **DETAIL, validation__samples_every=2)
    training = DitTraining(read_config(DitTrainingConfig, config))
    run_to(training)
    return training


def pictures(training, name):
    return [path.read_bytes() for path in sorted(training.pictures_folder.glob(f"*_{name}.png"))]


def test_the_adapter_says_that_it_draws_the_detail_and_how(trained):
    for name in ("result", "result_live"):
        adapter = read_adapter(trained.folder / f"{name}.safetensors")
        assert adapter.mode == "detail"
        assert (adapter.advice.guidance, adapter.advice.steps) == (1.0, 2)


def test_a_merged_model_still_says_so(trained, tmp_path):
    path, result = tmp_path / "merged.safetensors", trained.folder / "result.safetensors"
    assert main(["merge", trained.config.model.base, str(result), "-o", str(path)]) == 0
    assert read_file_description(path).mode == "detail"


def test_inspecting_it_says_what_it_draws(trained, capsys):
    assert main(["inspect", str(trained.folder / "result.safetensors")]) == 0
    assert "Draws the detail alone" in capsys.readouterr().out


def test_the_details_error_is_all_that_is_learned_from_and_measured(trained):
    for record in read_log(trained.folder, "train"):
        assert record["loss"] == record["detail"]
        assert not {"base", "detail_weight"} & set(record)
    for record in read_log(trained.folder, "validation"):
        assert record["detail"] > 0 and not {"base", "velocity"} & set(record)


def test_the_bases_half_of_the_output_stays_what_it_was_and_the_embedder_learns(trained):
    edges = read_adapter(trained.folder / "result.safetensors").edges
    base, detail = edges["proj_out.weight"].view(4, 32, -1).split(16, dim=1)
    assert not base.any() and detail.any()
    assert edges["pos_embed.proj.weight"][:, :16].any()


def test_the_held_out_error_is_that_over_a_clean_base(trained):
    plan, layout, model = replace(trained.held_out, pictures=1), trained.layout, trained.denoiser
    variants, text = plan.cache.read(0)
    latents = to_model_space(variants[:1].float(), layout)
    noise, errors = sample_noise(0, (0,), tuple(latents.shape[1:])), []
    for level in LEVELS:
        sigma = shift_sigma(level, plan.shift)
        seen = torch.cat([latents[:, :16], ((1 - sigma) * latents + sigma * noise)[:, 16:]], dim=1)
        with torch.no_grad():
            found = model.eval()(seen, torch.tensor([sigma]), *model.under(text))
        errors.append((found - (noise - latents))[:, 16:].square().mean())
    accelerator = make_accelerator("cpu", "fp32")
    texts = texts_on(accelerator.device, DitTextConfig(), plan.cache)
    measured = measure_velocity(model, plan, layout, accelerator, texts)
    assert measured == {"detail": pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)}


def test_pictures_are_drawn_on_the_untouched_models_bases_which_training_never_changes(
    trained, tmp_path
):
    drafts, full = pictures(trained, "draft"), pictures(trained, "full")
    assert len(drafts) == len(full) == 2
    assert drafts[0] == drafts[1] and full[0] != full[1]
    texts = [text for _, text in trained.prompts]
    size = trained.data.commonest_size
    plan = SamplingPlan(UNTRAINED.shift, UNTRAINED.steps, UNTRAINED.guidance, *size)
    # A widened transformer that has learned nothing draws the base it would draw without its detail.
    elsewhere = replace(trained.config.output, folder=str(tmp_path))
    fresh = DitTraining(replace(trained.config, output=elsewhere))
    drawn = draw_latents(fresh.denoiser, texts, fresh.empty, 32, plan, torch.device("cpu"))
    assert trained.bases.shape == (2, 16, 4, 4) and trained.bases.std() > 0.1
    torch.testing.assert_close(trained.bases, drawn[:, :16], atol=1e-3, rtol=1e-3)


def test_a_drawn_detail_leaves_its_base_bit_for_bit_and_starts_from_noise_that_is_not_the_bases(
    trained,
):
    texts, started = [text for _, text in trained.prompts], []
    plan = SamplingPlan(4.0, 2, 1.0, 4, 4)
    watch = trained.denoiser.register_forward_pre_hook(lambda _, given: started.append(given[0]))
    found = draw_detail(trained.denoiser, texts, trained.empty, trained.bases, trained.layout, plan)
    watch.remove()
    assert torch.equal(found[:, :16], trained.bases)
    noise = sample_noise(0, (0, 1), (16, 4, 4), Stream.SAMPLE)
    assert not torch.isclose(started[0][:, 16:], noise).any(dim=(1, 2, 3)).all()


def test_drawing_changes_nothing_that_is_learned(dit_config):
    drawn, blind = (
        train_dit(dit_config(name, **DETAIL, validation__samples_every=every))
        for name, every in (("drawn", 2), ("blind", 0))
    )
    assert drawn.read_bytes() == blind.read_bytes()
    assert not (blind.parent / "pictures").exists()


def test_a_resumed_detail_run_equals_an_unbroken_one_bit_for_bit(dit_config):
    whole, broken = (dit_config(name, **DETAIL) for name in ("whole", "broken"))
    assert train_dit(broken, stop_at=2) is None
    ours, theirs = train_dit(broken), train_dit(whole)
    assert ours.read_bytes() == theirs.read_bytes()
    drawn = [(path.parent / "pictures" / "step_00000004_full.png") for path in (ours, theirs)]
    assert drawn[0].read_bytes() == drawn[1].read_bytes()


@pytest.mark.parametrize("first", ["joint", "detail"])
def test_a_run_is_not_resumed_in_the_other_mode(dit_config, first):
    changes = {"validation__samples_every": 0, "loss__ramp_steps": 0}
    train_dit(dit_config(train__mode=first, **changes), stop_at=1)
    other = {"joint": "detail", "detail": "joint"}[first]
    with pytest.raises(TrainingError, match=rf"train\.mode is '{other}', but .*with '{first}'"):
        DitTraining(dit_config(train__mode=other, **changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__train": "full"}, r"model\.train is full, but train\.mode is detail"),
        ({"loss__ramp_steps": 4}, r"loss\.ramp_steps is 4, but .* set it to 0\."),
        ({"loss__base_levels": "own"}, r"loss\.base_levels is own, but .* set it to shared\."),
        ({"loss__base_noise": 1.5}, r"loss\.base_noise is 1\.5, but it must lie between"),
        ({"train__mode": "joint"}, r"loss\.base_noise is 0\.05, but train\.mode is joint"),
        ({"train__mode": "both"}, r"train\.mode is 'both', but it must be one of joint, detail"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(dit_config, changes, sentence):
    with pytest.raises(TrainingError, match=sentence):
        dit_config(**{**DETAIL, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__train": "full"}, r"base_levels is own, but model\.train is full"),
        ({"loss__weighting": "x0"}, r"weighting is x0, which weighs a sample by its one level"),
    ],
)
def test_a_level_of_its_own_for_the_base_is_refused_where_one_level_is_taken_for_granted(
    dit_config, changes, sentence
):
    with pytest.raises(TrainingError, match=sentence):
        dit_config(loss__base_levels="own", **changes)


def test_a_detail_pass_needs_detail_channels(dit_config, tmp_path, base_vae):
    cache = write_cache(tmp_path / "base_cache", base_vae, False, [(4, 4)] * 4)
    plain = {"model__vae": str(base_vae), "data__caches": [str(cache)], "validation__cache": None}
    with pytest.raises(TrainingError, match="has no detail channels"):
        DitTraining(dit_config(**DETAIL, **plain))
