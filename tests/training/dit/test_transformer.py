"""What trains in the transformer, and from which start."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import training
from davae_core.files import write_safetensors
from davae_core.lightning.files import build_lightning
from davae_core.transformer.names import diffusers_to_stability
from tests.davae_core.lightning import tiny
from training.dit.config import DitModelConfig, DitTrainingConfig, LoraConfig, NewSizesConfig
from training.dit.transformer import build_transformer, lower_frozen, read_base, recompute_blocks
from training.errors import TrainingError
from training.settings.yaml_config import read_config

CONFIGS = Path(training.__file__).parent / "configs"
TINY = NewSizesConfig(blocks=2, context_width=32, pooled_width=24, positions=8)


def config(**changes):
    values = {"base": "base.safetensors", "vae": "vae.safetensors", "sizes": TINY}
    return DitModelConfig(**{**values, "lora": LoraConfig(rank=4, alpha=4), **changes})


def base_weights(channels=4):
    torch.manual_seed(0)
    fresh = build_transformer(config(base=None, train="full"), None, channels, 0)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return diffusers_to_stability({k: v.clone() for k, v in fresh.state_dict().items()})


def trainable(model):
    return {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}


def run(model, latents):
    torch.manual_seed(1)
    batch = latents.shape[0]
    return model(
        hidden_states=latents,
        encoder_hidden_states=torch.randn(batch, 5, 32),
        pooled_projections=torch.randn(batch, 24),
        timestep=torch.tensor([300.0] * batch),
        return_dict=False,
    )[0]


def test_the_published_preset_trains_as_many_parameters_as_the_published_code():
    preset = read_config(DitTrainingConfig, CONFIGS / "sd35_published.yaml").model
    sizes = NewSizesConfig(
        blocks=24,
        dual_blocks=tuple(range(13)),
        context_width=4096,
        pooled_width=2048,
        positions=384,
    )
    assert preset.sizes == sizes
    # The table of positions is no parameter, and diffusers computes it even without memory for it.
    with torch.device("meta"):
        model = build_transformer(replace(preset, sizes=replace(sizes, positions=2)), None, 16, 16)
    found = trainable(model)
    assert sum(found.values()) == 245_369_984
    assert sum(count for name, count in found.items() if "lora_" not in name) == 396_416
    assert len(found) == 400


def test_zero_start_leaves_the_base_output_and_the_detail_zero():
    base = base_weights()
    plain = build_transformer(config(train="full"), base, 4, 0).eval()
    wide = build_transformer(config(), base, 4, 6).eval()
    torch.manual_seed(2)
    latents = torch.randn(2, 10, 6, 8)
    with torch.no_grad():
        narrow, widened = run(plain, latents[:, :4]), run(wide, latents)
    assert narrow.abs().max() > 0.1
    torch.testing.assert_close(widened[:, :4], narrow, atol=1e-6, rtol=1e-6)
    assert not widened[:, 4:].any()


def test_another_start_changes_the_output():
    base = base_weights()
    wide = build_transformer(config(zero_init=False), base, 4, 6).eval()
    with torch.no_grad():
        assert run(wide, torch.randn(1, 10, 4, 4))[:, 4:].any()


def test_an_adapter_trains_its_lora_and_the_edges_only():
    model = build_transformer(config(), base_weights(), 4, 4)
    kinds = {name.split(".")[0] if "lora" not in name else "lora" for name in trainable(model)}
    assert kinds == {"lora", "pos_embed", "proj_out"}
    without = build_transformer(config(train_edges=False), base_weights(), 4, 4)
    edges = {name for name in trainable(without) if "lora" not in name}
    assert edges == {
        "pos_embed.proj.detail.weight", "pos_embed.proj.detail.bias",
        "proj_out.detail.weight", "proj_out.detail.bias",
    }  # fmt: skip


def test_wide_targets_reach_the_text_stream():
    model = build_transformer(
        config(lora=LoraConfig(rank=2, alpha=2, targets=("wide",))), base_weights(), 4, 4
    )
    assert any("add_q_proj.lora_A" in name for name in trainable(model))


def test_a_target_that_matches_nothing_is_named():
    wrong = config(lora=LoraConfig(rank=2, alpha=2, targets=("to_q", "to_quark")))
    with pytest.raises(TrainingError, match=r"to_quark, which matches no linear layer"):
        build_transformer(wrong, base_weights(), 4, 4)


def test_frozen_weights_are_lowered_and_trained_ones_stay_float32():
    model = build_transformer(config(), base_weights(), 4, 4)
    lower_frozen(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_a_base_that_is_no_sd3_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    write_safetensors(path, {"layer.weight": torch.zeros(2, 2)}, {})
    with pytest.raises(
        TrainingError, match=r"model\.base cannot be used: .*not an SD3 transformer"
    ):
        read_base(config(base=str(path)), 4)


def test_a_base_of_another_vae_is_refused(tmp_path):
    path = tmp_path / "base.safetensors"
    write_safetensors(path, base_weights(channels=4), {})
    with pytest.raises(TrainingError, match=r"reads 4 latent channels, .*are\s16"):
        read_base(config(base=str(path)), 16)
    assert read_base(config(base=str(path)), 4) is not None


def test_a_base_with_missing_weights_is_refused():
    weights = base_weights()
    del weights["joint_blocks.1.x_block.mlp.fc1.bias"]
    with pytest.raises(TrainingError, match=r"is no whole SD3 transformer"):
        build_transformer(config(), weights, 4, 4)


def test_a_new_transformer_starts_with_the_zero_velocity():
    model = build_transformer(config(base=None, train="full"), None, 4, 0)
    assert isinstance(model, nn.Module)
    with torch.no_grad():
        assert not run(model, torch.randn(1, 4, 4, 4)).any()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_as_many_blocks_as_asked_for_are_computed_twice_and_the_first_ones(count):
    model = build_transformer(config(base=None, train="full"), None, 4, 0)
    names, computed = set(model.state_dict()), []
    recompute_blocks(model, count)
    assert set(model.state_dict()) == names
    for number, block in enumerate(model.transformer_blocks):
        block.ff.register_forward_hook(lambda *_, number=number: computed.append(number))
    run(model, torch.zeros(1, 4, 4, 4)).sum().backward()
    # In the backward pass from the last to the first.
    assert computed == [0, 1, *reversed(range(count))]


def test_recomputed_blocks_of_a_class_model_have_the_same_gradients():
    latents, time = torch.randn(2, tiny.TINY.channels, 4, 4), torch.rand(2)
    gradients = []
    for count in (0, 1):
        model = build_lightning(tiny.TINY, tiny.random_weights(tiny.TINY))
        recompute_blocks(model, count)
        model(latents, time, torch.tensor([0, 3])).square().sum().backward()
        gradients.append(model.blocks[0].attn.qkv.weight.grad)
    assert gradients[0].any() and torch.allclose(*gradients)


def test_more_recomputed_blocks_than_there_are_is_refused():
    model = build_transformer(config(base=None, train="full"), None, 4, 0)
    with pytest.raises(TrainingError, match=r"recomputed_blocks is 3, .* has 2 blocks"):
        recompute_blocks(model, 3)
