import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from davae_core.files import CheckpointError
from davae_core.presets import SD3
from davae_core.published.adapter import convert_adapter
from davae_core.transformer.adapter import Adapter, read_adapter, widened_edges, write_adapter
from davae_core.transformer.description import Advice, read_file_description
from davae_core.transformer.fingerprint import same_base
from davae_core.transformer.merging import plan_merge, write_merged
from davae_core.transformer.names import EDGES
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.widened_model import widen_model
from tests.davae_core.transformer.in_diffusers import in_diffusers

KEYS = {
    "pos_embed.proj.weight": "transformer.pos_embed.proj.diff",
    "pos_embed.proj.bias": "transformer.pos_embed.proj.diff_b",
    "proj_out.weight": "transformer.proj_out.diff",
    "proj_out.bias": "transformer.proj_out.diff_b",
}
"""What an adapter file calls the differences of the edge layers."""


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
def published_velocity(folder):
    """Compare a model's velocity with the published code's: the channels it has, detail first there."""
    expected = load_file(folder / "expected.safetensors")

    @torch.no_grad()
    def compare(model, name):
        detail, latent_base = expected["latent_detail_first"].chunk(2, dim=1)
        wide = torch.cat([latent_base, detail], dim=1)
        velocity = model(
            hidden_states=wide[:, : model.out_channels],
            encoder_hidden_states=expected["context"],
            pooled_projections=expected["pooled"],
            timestep=expected["timestep"],
        ).sample
        ours = torch.cat([velocity[:, 16:], velocity[:, :16]], dim=1)
        torch.testing.assert_close(ours, expected[name], atol=1e-5, rtol=0)

    return compare


def test_untouched_and_zero_widened_models_give_the_published_velocities_in_diffusers(
    base, published_velocity
):
    published_velocity(in_diffusers(base), "base_velocity")
    published_velocity(in_diffusers(widen_model(base, SD3.layout)), "zero_init_velocity")


def test_the_converted_adapter_gives_the_published_velocity_in_diffusers(
    base, live, published_velocity, tmp_path
):
    write_adapter(tmp_path / "adapter.safetensors", live)
    adapter = read_adapter(tmp_path / "adapter.safetensors")
    model = in_diffusers(widen_model(base, SD3.layout))
    with torch.no_grad():
        for name, difference in adapter.edges.items():
            model.get_parameter(name).add_(difference)
    model.load_lora_adapter(dict(adapter.lora), prefix=None)
    published_velocity(model, "adapted_velocity")


def test_the_merged_file_gives_the_published_velocity_in_diffusers(
    base, live, published_velocity, tmp_path
):
    write_merged(tmp_path / "merged.safetensors", plan_merge(base, live))
    merged = load_file(tmp_path / "merged.safetensors")
    published_velocity(in_diffusers(merged), "adapted_velocity")


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
    assert keys >= set(KEYS.values())
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
    described = {"kind": "adapter", "format_version": 1, "layout": {}, "advice": {}, "parents": {}}
    save_file(tensors, path, {"davae": json.dumps(described)})
    with pytest.raises(CheckpointError, match="no whole DA-VAE adapter"):
        read_adapter(path)


def test_the_base_is_known_again_in_any_float_type(base, live):
    assert same_base(live.parents["base"], base)
    assert same_base(live.parents["base"], {name: part.half() for name, part in base.items()})
    other = {name: torch.randn_like(part) for name, part in base.items()}
    assert not same_base(live.parents["base"], other)


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
    quantised = {name: torch.zeros(1) for name in EDGES.values()}
    quantised["joint_blocks.0.x.scale_weight"] = torch.zeros(1)
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
    with pytest.raises(CheckpointError, match="is no whole step_N"):
        convert_adapter(
            tmp_path / "step_2.pt", base, "live", folder / "pytorch_lora_weights.safetensors"
        )
    with pytest.raises(CheckpointError, match="is not a LoRA"):
        convert_adapter(folder / "step_4321.pt", base, "live", folder / "base.safetensors")
    (tmp_path / "step_3.pt").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match="never run"):
        convert_adapter(tmp_path / "step_3.pt", base, "ema")


def test_the_header_alone_gives_layout_advice_and_parents(live, tmp_path):
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, replace(live, advice=Advice(shift=3.0, sizes=(512,))))
    found = read_file_description(path)
    assert (found.kind, found.layout, found.advice, found.parents) == (
        "adapter",
        SD3.layout,
        Advice(shift=3.0, sizes=(512,)),
        live.parents,
    )
    # Weights that cannot be read do not matter.
    with path.open("rb+") as file:
        header = int.from_bytes(file.read(8), "little")
        file.seek(8 + header)
        file.write(b"\xff" * 1000)
    assert read_file_description(path) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("advice"), "advice is missing"),
        (lambda d: d["advice"].pop("shift"), r"advice\.shift is missing"),
        (lambda d: d["advice"].update(shift=0), "shift must be above 0"),
        (lambda d: d["advice"].update(steps=0), r"advice\.steps is 0, but it must lie between 1"),
        (lambda d: d["advice"].update(steps=float("inf")), "steps is inf, but it must be a whole"),
        (lambda d: d["advice"].update(shift=10**350), "shift is a number of 1163 bits, but it"),
        (lambda d: d["advice"].update(sizes=None), "DA-VAE adapter"),
        (lambda d: d.update(advice=[]), "DA-VAE adapter"),
        (
            lambda d: d["layout"].update(base_channels=0),
            "base_channels is 0, but it must lie between 1",
        ),
        (lambda d: d["layout"].update(detail_channels=0), "detail_channels must be at least 1"),
        (lambda d: d["layout"].update(base_channels="x"), "DA-VAE adapter"),
        (lambda d: d.pop("parents"), "parents is missing"),
        (lambda d: d.update(kind="latent"), "a stored latent, not a DA-VAE adapter"),
        (lambda d: d["parents"].update(vae=5), r"parents\.vae is 5, but it must be a hash"),
        (
            lambda d: d["parents"].update(vae="<b>"),
            r"parents\.vae is '\?b\?', but it must be a hash",
        ),
        (lambda d: d["parents"].update(base_name="a\nb"), r"parents\.base_name is .* can be shown"),
        (
            lambda d: d["parents"].update(base_name="a" * 101),
            r"parents\.base_name is .* can be shown",
        ),
        (lambda d: d.update(mode="both"), "mode is 'both', but it must be one of joint, detail"),
        (lambda d: d.update(mode=[]), "one of joint, detail"),
    ],
)
def test_a_damaged_description_is_refused(change, words, live, tmp_path):
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, live)
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["davae"])
    change(described)
    save_file(load_file(path), path, {"davae": json.dumps(described)})
    with pytest.raises(CheckpointError, match=words) as caught:
        read_file_description(path)
    assert str(path) in str(caught.value) and str(caught.value).count(". ") == 0


def test_what_an_adapter_draws_comes_back_and_files_that_do_not_say_it_are_joint(live, tmp_path):
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, replace(live, mode="detail"))
    assert read_adapter(path).mode == read_file_description(path).mode == "detail"
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["davae"])
    del described["mode"]
    save_file(load_file(path), path, {"davae": json.dumps(described)})
    assert read_adapter(path).mode == "joint"


TO_Q = "transformer_blocks.0.attn.to_q"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.lora.pop(f"{TO_Q}.lora_B.weight"), f"{TO_Q} lacks lora_B"),
        (lambda a: a.lora.pop(f"{TO_Q}.lora_A.weight"), f"{TO_Q} lacks lora_A"),
        (lambda a: a.lora.update({f"{TO_Q}.alpha": torch.ones(1)}), "alpha is no part of a LoRA"),
        (lambda a: a.lora.update({f"{TO_Q}.lora_A.weight": torch.ones(3, 128)}), r"lora_A \[3, 128\]"),
        (lambda a: a.lora.update({"proj_out.lora_A.weight": torch.ones(3, 128)}), "an edge layer"),
        (lambda a: a.edges.pop("proj_out.bias"), r"proj_out\.bias is missing"),
        (lambda a: a.edges.update({"proj_out.bias": torch.zeros(64)}), r"proj_out\.bias \[64\]"),
        (lambda a: a.edges.update({"pos_embed.proj.weight": torch.zeros(128, 48, 2, 2)}), "32 channels"),
    ],
)  # fmt: skip
def test_an_adapter_that_is_not_whole_is_neither_written_nor_read(change, words, live, tmp_path):
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, live)
    change(live)
    with pytest.raises(ValueError, match=words):
        write_adapter(path, live)
    tensors = {f"transformer.{name}": part for name, part in live.lora.items()}
    tensors |= {KEYS[name]: part for name, part in live.edges.items()}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="no whole DA-VAE adapter") as caught:
        read_adapter(path)
    assert str(path) in str(caught.value)
