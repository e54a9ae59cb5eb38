import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from davae_core.files import CheckpointError
from davae_core.presets import SD3
from davae_core.published.adapter import convert_adapter
from davae_core.transformer.adapter import Adapter, widened_edges, write_adapter
from davae_core.transformer.description import DESCRIPTION, read_description, read_file_description
from davae_core.transformer.merging import merge, merge_files, plan_merge, write_merged
from davae_core.transformer.names import EDGES
from davae_core.transformer.pretrained import load_transformer


@pytest.fixture
def base(golden):
    return load_transformer(golden / "transformer" / "base.safetensors")


@pytest.fixture
def live(golden, base):
    folder = golden / "transformer"
    lora = folder / "pytorch_lora_weights.safetensors"
    return convert_adapter(folder / "step_4321.pt", base, "live", lora)


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
    for name, target in EDGES.items():
        assert torch.equal(merged[target], wide[name])
    assert torch.equal(merged["x_embedder.proj.weight"][:, :16], base["x_embedder.proj.weight"])
    head = merged["final_layer.linear.weight"].unflatten(0, (4, 32))
    assert torch.equal(head[:, :16].flatten(0, 1), base["final_layer.linear.weight"])
    assert torch.count_nonzero(head[:, 16:]) == 0


def test_merging_can_change_the_storage_type(live, base):
    merged = merge(base, live, torch.bfloat16)
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}


def test_an_adapter_for_a_larger_base_is_refused(live, base):
    shallow = {
        name: tensor for name, tensor in base.items() if not name.startswith("joint_blocks.1.")
    }
    with pytest.raises(ValueError, match="which this base does not have"):
        merge(shallow, live)


def test_a_base_that_is_widened_already_is_refused(live, base):
    with pytest.raises(ValueError, match="widened already"):
        merge(merge(base, live), live)


def test_an_adapter_of_another_width_is_refused(live, base):
    name = "joint_blocks.0.x_block.mlp.fc2.weight"
    with pytest.raises(ValueError, match=r"transformer_blocks\.0\.ff\.net\.2 has shape"):
        merge({**base, name: torch.zeros(128, 96)}, live)
    live.edges["pos_embed.proj.weight"] = torch.zeros(64, 32, 2, 2)
    with pytest.raises(ValueError, match=r"pos_embed\.proj\.weight has shape \[64, 32, 2, 2\]"):
        merge(base, live)


def test_the_base_is_left_as_it_was(live, base):
    before = {name: tensor.clone() for name, tensor in base.items()}
    merge(base, live)
    assert all(torch.equal(tensor, base[name]) for name, tensor in before.items())


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16])
def test_a_merged_file_holds_the_merged_model_and_says_where_it_comes_from(
    dtype, live, base, tmp_path
):
    path, seen = tmp_path / "merged.safetensors", []
    live.parents["vae"] = "abc"
    write_merged(path, plan_merge(base, live), dtype, lambda *bytes_: seen.append(bytes_))
    wanted, found = merge(base, live, dtype), load_file(path)
    told = found.pop(DESCRIPTION)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert {tensor.dtype for tensor in found.values()} == {dtype or torch.float32}
    described = read_file_description(path)
    assert read_description(told) == described
    assert (described.kind, described.layout, described.advice) == (
        "merged",
        live.layout,
        live.advice,
    )
    assert described.parents["base"] == live.parents["base"] and described.parents["vae"] == "abc"
    assert len(described.parents["adapter"]) == 64
    total = sum(tensor.nbytes for tensor in found.values()) + told.nbytes
    assert seen[-1] == (total, total) and len(seen) == len(found) + 1


def test_fp8_keeps_small_and_widened_tensors_in_bfloat16_and_saturates(live, base, tmp_path):
    large = "joint_blocks.0.x_block.mlp.fc1.weight"
    base[large] = base[large].clone()
    base[large][0, 0] = 1e6
    write_merged(tmp_path / "merged.safetensors", plan_merge(base, live), torch.float8_e4m3fn)
    found = load_file(tmp_path / "merged.safetensors")
    del found[DESCRIPTION]
    in_fp8 = {name for name, tensor in found.items() if tensor.dtype == torch.float8_e4m3fn}
    matrices = {n for n, t in base.items() if n.startswith("joint_blocks.") and t.ndim == 2}
    assert in_fp8 == matrices
    assert {tensor.dtype for name, tensor in found.items() if name not in in_fp8} == {
        torch.bfloat16
    }
    assert found[large][0, 0].float() == 448
    wanted = merge(base, live)
    qkv = "joint_blocks.1.x_block.attn.qkv.weight"
    torch.testing.assert_close(found[qkv].float(), wanted[qkv], rtol=0.07, atol=2**-9)


def test_the_merged_file_is_aligned_and_a_plain_safetensors_file(live, base, tmp_path):
    path = tmp_path / "merged.safetensors"
    write_merged(path, plan_merge(base, live), torch.float8_e4m3fn)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    assert length % 8 == 0
    sizes = {"BF16": 2, "F8_E4M3": 1, "U8": 1}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % sizes[entry["dtype"]] == 0
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == base.keys() | {DESCRIPTION}


def test_nothing_is_written_when_the_adapter_does_not_fit(live, base, tmp_path):
    base_path, adapter_path, output = (tmp_path / name for name in ("base", "adapter", "out"))
    output.write_bytes(b"old")
    del base["joint_blocks.1.x_block.mlp.fc2.weight"]
    save_file(base, base_path)
    write_adapter(adapter_path, live)
    with pytest.raises(CheckpointError, match="which this base does not have"):
        merge_files(base_path, adapter_path, output)
    assert output.read_bytes() == b"old"
    assert set(tmp_path.iterdir()) == {base_path, adapter_path, output}


def test_a_merged_file_is_not_widened_again(live, base, tmp_path):
    path = tmp_path / "merged.safetensors"
    write_merged(path, plan_merge(base, live))
    with pytest.raises(CheckpointError, match="a merged DA-VAE model, not a pretrained transf"):
        load_transformer(path)
