import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.adapter import (
    EDGES,
    Adapter,
    Advice,
    base_hash,
    merge,
    read_adapter,
    widened_edges,
    write_adapter,
)
from davae_core.files import CheckpointError
from davae_core.official_adapter import convert_adapter
from davae_core.presets import SD3
from davae_core.transformer_files import load_transformer
from davae_core.warm_start import widen_head, widen_patch_embedder


@pytest.fixture
def folder(golden):
    return golden / "transformer"


@pytest.fixture
def base(folder):
    return load_transformer(folder / "base.safetensors")


@pytest.fixture
def live(folder, base):
    lora = folder / "pytorch_lora_weights.safetensors"
    return convert_adapter(folder / "step_4321.pt", base, "live", lora)


@pytest.fixture
def adapted_diffusers(folder):
    """Apply an adapter to diffusers' own model: widen, add the edges' differences, load the LoRA with peft."""

    def apply(adapter):
        from diffusers import SD3Transformer2DModel

        model = SD3Transformer2DModel(
            sample_size=32, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=2,
            joint_attention_dim=64, caption_projection_dim=128, pooled_projection_dim=48, out_channels=16,
            pos_embed_max_size=40, dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip
        model.load_state_dict(load_file(folder / "base.safetensors"))
        model.pos_embed.proj = widen_patch_embedder(model.pos_embed.proj, 16, 16)
        model.proj_out = widen_head(model.proj_out, 16, 16)
        model.out_channels = 32
        with torch.no_grad():
            for name, difference in adapter.edges.items():
                model.get_parameter(name).add_(difference)
        model.load_lora_adapter(dict(adapter.lora), prefix=None)
        return model.eval()

    return apply


@torch.no_grad()
def test_the_converted_adapter_gives_the_published_velocity_in_diffusers(
    folder, live, adapted_diffusers, tmp_path
):
    expected = load_file(folder / "expected.safetensors")
    write_adapter(tmp_path / "adapter.safetensors", live)
    model = adapted_diffusers(read_adapter(tmp_path / "adapter.safetensors"))
    detail, latent_base = expected["latent_detail_first"].chunk(2, dim=1)
    velocity = model(
        hidden_states=torch.cat([latent_base, detail], dim=1),
        encoder_hidden_states=expected["context"],
        pooled_projections=expected["pooled"],
        timestep=expected["timestep"],
    ).sample
    ours = torch.cat([velocity[:, 16:], velocity[:, :16]], dim=1)
    torch.testing.assert_close(ours, expected["adapted_velocity"], atol=1e-5, rtol=0)


def test_merging_adds_every_delta_where_stability_keeps_it(live, base):
    merged = merge(base, live)
    assert merged.keys() == base.keys()
    assert merged["x_embedder.proj.weight"].shape == (128, 32, 2, 2)
    assert merged["final_layer.linear.weight"].shape == (128, 128)
    qkv = "joint_blocks.1.x_block.attn.qkv.weight"
    lora = live.lora
    for third, letter in enumerate("qkv"):
        layer = f"transformer_blocks.1.attn.to_{letter}"
        delta = lora[f"{layer}.lora_B.weight"] @ lora[f"{layer}.lora_A.weight"]
        rows = slice(128 * third, 128 * third + 128)
        torch.testing.assert_close(merged[qkv][rows], base[qkv][rows] + delta)
    untouched = "joint_blocks.0.context_block.attn.qkv.weight"
    assert merged[untouched] is base[untouched]


def test_merging_without_training_is_the_zero_widened_base(base):
    wide = widened_edges(base, SD3.layout)
    nothing = Adapter(
        SD3.layout, {}, {name: torch.zeros_like(tensor) for name, tensor in wide.items()}
    )
    merged = merge(base, nothing)
    for name, (_, target) in EDGES.items():
        assert torch.equal(merged[target], wide[name])
    assert torch.equal(merged["x_embedder.proj.weight"][:, :16], base["x_embedder.proj.weight"])
    head = merged["final_layer.linear.weight"].unflatten(0, (4, 32))
    assert torch.equal(head[:, :16].flatten(0, 1), base["final_layer.linear.weight"])
    assert torch.count_nonzero(head[:, 16:]) == 0


def test_merging_can_change_the_storage_type(live, base):
    merged = merge(base, live, torch.bfloat16)
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}


def test_live_and_ema_weights_can_be_told_apart(folder, base, live):
    ema = convert_adapter(folder / "step_4321.pt", base, "ema")
    assert ema.lora.keys() == live.lora.keys()
    for name, tensor in live.lora.items():
        torch.testing.assert_close(ema.lora[name], tensor * 1.01)
    wide = widened_edges(base, SD3.layout)
    for name, tensor in live.edges.items():
        torch.testing.assert_close(ema.edges[name] + wide[name], (tensor + wide[name]) * 1.01)


def test_keys_are_those_of_stock_loras(live, tmp_path):
    write_adapter(tmp_path / "adapter.safetensors", live)
    keys = load_file(tmp_path / "adapter.safetensors").keys()
    assert "transformer.pos_embed.proj.diff" in keys and "transformer.proj_out.diff_b" in keys
    assert "transformer.transformer_blocks.0.attn2.to_q.lora_A.weight" in keys
    assert all(key.startswith("transformer.") for key in keys)


def test_reading_gives_back_what_was_written(live, tmp_path):
    adapter = Adapter(
        live.layout, live.lora, live.edges, Advice(sizes=(1024, 2048)), {"base": "a", "vae": "b"}
    )
    write_adapter(tmp_path / "adapter.safetensors", adapter)
    again = read_adapter(tmp_path / "adapter.safetensors")
    assert (again.layout, again.advice, again.parents) == (
        adapter.layout,
        adapter.advice,
        adapter.parents,
    )
    assert all(torch.equal(again.lora[name], tensor) for name, tensor in adapter.lora.items())
    assert all(torch.equal(again.edges[name], tensor) for name, tensor in adapter.edges.items())


def test_other_files_are_no_adapters(tmp_path, folder, live):
    with pytest.raises(CheckpointError, match="a diffusion transformer, not a DA-VAE adapter"):
        read_adapter(folder / "base.safetensors")
    with pytest.raises(CheckpointError, match="a LoRA, not a DA-VAE adapter"):
        read_adapter(folder / "pytorch_lora_weights.safetensors")
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, live)
    tensors = load_file(path)
    described = {"kind": "adapter", "format_version": 1, "layout": {}, "advice": {}}
    save_file(tensors, path, {"davae": json.dumps(described)})
    with pytest.raises(CheckpointError, match="no whole DA-VAE adapter"):
        read_adapter(path)


def test_an_adapter_for_a_larger_base_is_refused(live, base):
    shallow = {
        name: tensor for name, tensor in base.items() if not name.startswith("joint_blocks.1.")
    }
    with pytest.raises(ValueError, match="which this base does not have"):
        merge(shallow, live)


def test_a_base_that_is_widened_already_is_refused(live, base):
    with pytest.raises(ValueError, match="widened already"):
        merge(merge(base, live), live)


def test_the_base_is_known_by_its_edges_in_any_float_type(base, live):
    assert live.parents["base"] == base_hash(base)
    halves = {name: tensor.bfloat16() for name, tensor in base.items()}
    assert base_hash(halves) == base_hash({name: tensor.float() for name, tensor in halves.items()})
    assert base_hash(
        {**base, "x_embedder.proj.bias": base["x_embedder.proj.bias"] + 1}
    ) != base_hash(base)


def test_every_layout_of_a_base_reads_the_same(base, folder, tmp_path):
    single = {name: tensor.clone() for name, tensor in base.items()}
    save_file(single, tmp_path / "single.safetensors")
    full = {f"model.diffusion_model.{name}": tensor for name, tensor in single.items()}
    save_file(full | {"first_stage_model.x": torch.zeros(1)}, tmp_path / "full.safetensors")
    diffusers = load_file(folder / "base.safetensors")
    shards = tmp_path / "model" / "transformer"
    shards.mkdir(parents=True)
    names = sorted(diffusers)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: diffusers[name] for name in own}, shards / file)
    weight_map = {name: file for file, own in parts.items() for name in own}
    index = shards / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    for path in (
        tmp_path / "single.safetensors",
        tmp_path / "full.safetensors",
        tmp_path / "model",
    ):
        found = load_transformer(path)
        assert found.keys() == base.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in base.items())


def test_bases_that_are_none_are_called_what_they_are(tmp_path, golden, live):
    with pytest.raises(
        CheckpointError, match="a plain VAE of 16 latent channels, not an SD3 transformer"
    ):
        load_transformer(golden / "base_vae" / "diffusion_pytorch_model.safetensors")
    write_adapter(tmp_path / "adapter.safetensors", live)
    with pytest.raises(CheckpointError, match="a DA-VAE adapter, not a pretrained transformer"):
        load_transformer(tmp_path / "adapter.safetensors")
    quantised = {
        "x_embedder.proj.weight": torch.zeros(1),
        "final_layer.linear.bias": torch.zeros(1),
        "joint_blocks.0.x.scale_weight": torch.zeros(1),
    }
    save_file(quantised, tmp_path / "fp8.safetensors")
    with pytest.raises(CheckpointError, match="quantised transformer"):
        load_transformer(tmp_path / "fp8.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no diffusion_pytorch_model"):
        load_transformer(tmp_path / "empty")


def test_conversion_says_what_it_lacks(folder, base, tmp_path):
    with pytest.raises(CheckpointError, match="name it with --lora"):
        convert_adapter(folder / "step_4321.pt", base, "live")
    state = torch.load(folder / "step_4321.pt", weights_only=True)
    del state["ema_state_dict"]
    torch.save(state, tmp_path / "step_1.pt")
    with pytest.raises(CheckpointError, match="holds no EMA weights"):
        convert_adapter(tmp_path / "step_1.pt", base, "ema")
    torch.save({"model_state_dict": {}}, tmp_path / "step_2.pt")
    with pytest.raises(CheckpointError, match="does not fit this base"):
        convert_adapter(
            tmp_path / "step_2.pt", base, "live", folder / "pytorch_lora_weights.safetensors"
        )
    with pytest.raises(CheckpointError, match="is not a LoRA"):
        convert_adapter(folder / "step_4321.pt", base, "live", folder / "base.safetensors")
    (tmp_path / "step_3.pt").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match="never run"):
        convert_adapter(tmp_path / "step_3.pt", base, "ema")
