"""A LoRA of the plain transformer: trained on a plain VAE's latents, kept under the names that LoRA loaders read."""

from pathlib import Path

import pytest
import torch

from davae_core.files import read_safetensors
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from tests.training.dit_fixtures import CHANNELS, CONTEXT, POOLED, WORDS, write_cache
from training.dit.plan import plan_run
from training.dit.train import DitTraining, train_dit
from training.engine.checkpointing import MODEL
from training.engine.loop import run_to
from training.errors import TrainingError


@pytest.fixture
def lora_config(dit_config, tmp_path, base_vae):
    cache = write_cache(tmp_path / "plain_cache", base_vae, False, [(4, 4), (4, 4), (4, 6), (4, 6)])

    def make(name="lora", **changes):
        plain = {"data__caches": [str(cache)], "model__vae": str(base_vae), "model__train": "lora"}
        quiet = {"validation__cache": None, "validation__samples_every": 0}
        return dit_config(name, **{**plain, **quiet, **changes})

    return make


def velocity(model):
    torch.manual_seed(0)
    with torch.no_grad():
        return model(
            hidden_states=torch.randn(2, CHANNELS, 4, 6),
            encoder_hidden_states=torch.randn(2, WORDS, CONTEXT),
            pooled_projections=torch.randn(2, POOLED),
            timestep=torch.tensor([100.0, 900.0]),
            return_dict=False,
        )[0]


def plain_model(base):
    tensors = load_transformer(base)
    model = diffusers_transformer(transformer_sizes(tensors)).eval()
    model.load_state_dict(stability_to_diffusers(tensors, model.state_dict()))
    return model


def test_the_file_makes_the_trained_model_of_the_plain_one(lora_config):
    config = lora_config(train__steps=3)
    training = DitTraining(config)
    written = run_to(training)
    live, metadata = read_safetensors(written.with_name("result_live.safetensors"))
    assert not metadata and all(name.startswith("transformer.") for name in live)
    model = plain_model(config.model.base)
    before = velocity(model)
    for name, down in live.items():
        if name.endswith("lora_A.weight"):
            layer = name.removeprefix("transformer.").removesuffix(".lora_A.weight")
            up = live[name.replace("lora_A", "lora_B")]
            model.get_submodule(layer).weight.data += up.float() @ down.float()
    after = velocity(model)
    trained = training.denoiser.transformer.eval()
    torch.testing.assert_close(after, velocity(trained), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after, before, atol=1e-3)


def test_nothing_but_the_lora_trains_and_every_checkpoint_holds_it(lora_config):
    config = lora_config()
    training = DitTraining(config)
    assert all(".lora_" in name for name in training.parts[MODEL].weights())
    assert plan_run(config).trainable == sum(
        weight.numel() for weight in training.parts[MODEL].weights().values()
    )
    folder = Path(train_dit(config).parent)
    last = sorted((folder / "checkpoints").iterdir())[-1]
    assert (last / "result.safetensors").is_file() and (last / "result_live.safetensors").is_file()


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(lora_config):
    whole = train_dit(lora_config("whole"))
    broken = lora_config("broken")
    assert train_dit(broken, stop_at=2) is None
    assert train_dit(broken).read_bytes() == whole.read_bytes()


def test_a_davae_s_latents_are_refused_with_what_to_do(dit_config):
    with pytest.raises(TrainingError, match=r"model\.train is lora.*vae\.kind base_vae"):
        train_dit(dit_config(model__train="lora"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__base": None}, "a LoRA is trained on a pretrained transformer"),
        ({"model__start_from": "a.safetensors"}, r"model\.train is lora: set it to adapter"),
        ({"train__mode": "detail"}, r"model\.train is lora, but train\.mode is detail"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused(lora_config, changes, words):
    with pytest.raises(TrainingError, match=words):
        lora_config(**changes)
