import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.codec.autoencoder import KLAutoencoder, base_moments
from davae_core.codec.blocks import KLConfig
from davae_core.codec.description import read_codec_config
from davae_core.codec.files import (
    CheckpointError,
    load_base_vae,
    load_codec,
    read_codec_file,
    save_base_vae,
    save_codec,
)
from davae_core.inspection import inspect_file
from davae_core.latents import LatentLayout
from davae_core.presets import PRESETS

TINY = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4)
SD1 = KLConfig(widths=(32, 64, 64), res_blocks=1, norm_groups=32)
PLAIN_SD3 = LatentLayout(16, 0, 8, 1, base_shift=0.0609, base_scale=1.5305)


@pytest.fixture
def codec_file(tiny_codec, tmp_path):
    path = tmp_path / "codec.safetensors"
    save_codec(path, tiny_codec)
    return path


def rewrite(path, change_metadata=None, change_tensors=None):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["davae"])
    tensors = load_file(path)
    if change_metadata:
        change_metadata(described)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, {"davae": json.dumps(described)})


def test_the_base_encoder_is_named_by_hash_among_the_parents(codec_file, tiny_codec, tmp_path):
    save_codec(tmp_path / "compact.safetensors", tiny_codec, compact=True)
    whole, compact = (
        inspect_file(tmp_path / name).data["metadata"]["parents"]
        for name in ("codec.safetensors", "compact.safetensors")
    )
    assert whole == compact
    assert len(whole["base_encoder"]) == 64


def test_loading_leaves_no_weight_unread_and_draws_none(codec_file, tiny_codec):
    before = torch.get_rng_state()
    loaded = load_codec(codec_file)
    assert torch.equal(torch.get_rng_state(), before), "weights were drawn, to be thrown away"
    held = {**dict(loaded.named_parameters()), **dict(loaded.named_buffers())}
    assert held.keys() == tiny_codec.state_dict().keys()
    for name, tensor in tiny_codec.state_dict().items():
        assert not held[name].is_meta and torch.equal(held[name], tensor), name


def test_the_configuration_is_in_the_header(codec_file, tiny_codec):
    assert read_codec_config(codec_file) == read_codec_file(codec_file)[0] == tiny_codec.config


def test_weights_can_be_written_in_half_precision(tiny_codec, tmp_path):
    save_codec(tmp_path / "half.safetensors", tiny_codec, dtype=torch.float16)
    half = load_file(tmp_path / "half.safetensors")
    for name, tensor in tiny_codec.state_dict().items():
        kept = name in ("detail.mean", "detail.std")
        assert torch.equal(half[name], tensor if kept else tensor.half())
    wider = load_codec(tmp_path / "half.safetensors", dtype=torch.float32)
    save_codec(tmp_path / "wider.safetensors", wider)
    parents = [
        inspect_file(tmp_path / f"{name}.safetensors").data["metadata"]["parents"]
        for name in ("half", "wider")
    ]
    assert parents[0] == parents[1]


def test_inspect_tells_layout_tokens_and_drafts(codec_file):
    report = inspect_file(codec_file)
    assert report.kind == "vae"
    text = " ".join(report.lines)
    assert "4 base + 12 detail channels" in text
    assert "1024 tokens where the plain VAE needs 4096" in text
    assert "base decoder is inside" in text
    json.dumps(report.data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format_version=99), "update DA-VAE"),
        (lambda d: d.update(kind="merged"), "a merged DA-VAE model, not a DA-VAE: pick"),
        (lambda d: d.pop("layout"), "damaged DA-VAE metadata"),
        (lambda d: d["layout"].update(base_factor=16), "damaged DA-VAE metadata"),
        (lambda d: d["layout"].pop("base_scale"), r"damaged DA-VAE metadata \(.*base_scale"),
        (
            lambda d: d["layout"].update(detail_channels=0),
            r"damaged DA-VAE metadata \(detail_channels must be at least 1, not 0\)",
        ),
        (lambda d: d["backbone"].update(widths=[16, 32, 32]), "where its metadata means"),
        (lambda d: d.pop("kind"), "damaged DA-VAE metadata"),
        (lambda d: d.update(shared_trunk=False), "lacks detail.trunk"),
    ],
)
def test_metadata_that_does_not_fit_the_tensors_is_refused(codec_file, change, words):
    rewrite(codec_file, change_metadata=change)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_codec_file(codec_file)
    assert str(codec_file) in str(caught.value)


def test_missing_and_unknown_tensors_are_named(codec_file):
    rewrite(codec_file, change_tensors=lambda t: t.pop("joint.up.conv.bias"))
    with pytest.raises(CheckpointError, match=r"lacks joint\.up\.conv\.bias"):
        read_codec_file(codec_file)
    rewrite(
        codec_file,
        change_tensors=lambda t: t.update(
            {"joint.up.conv.bias": torch.zeros(64), "x": torch.zeros(1)}
        ),
    )
    with pytest.raises(CheckpointError, match="unknown tensor x"):
        read_codec_file(codec_file)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}, "a plain VAE of 4 latent channels"),
        (
            {"first_stage_model.decoder.conv_in.weight": torch.zeros(8, 16, 3, 3)},
            "a full checkpoint with a VAE",
        ),
        ({"joint_blocks.0.x.weight": torch.zeros(1)}, "a diffusion transformer"),
        ({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(1)}, "a LoRA"),
        ({"something": torch.zeros(1)}, "an unknown kind of file"),
    ],
)
def test_foreign_files_are_called_what_they_are(tmp_path, tensors, words):
    path = tmp_path / "foreign.safetensors"
    save_file(tensors, path)
    with pytest.raises(
        CheckpointError, match=f"foreign.safetensors is {words}.*pick a DA-VAE file"
    ):
        load_codec(path)
    assert words in inspect_file(path).lines[0]


def test_damaged_metadata_is_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"davae": "{"})
    with pytest.raises(CheckpointError, match="damaged DA-VAE metadata"):
        inspect_file(tmp_path / "x.safetensors")


def test_our_base_file_keeps_shift_and_scale(tmp_path):
    torch.manual_seed(0)
    vae = KLAutoencoder(TINY, 4)
    save_base_vae(tmp_path / "base.safetensors", vae, shift=-0.25, scale=2.0)
    again = load_base_vae(tmp_path / "base.safetensors")
    assert again.layout == LatentLayout(4, 0, 4, 1, base_shift=-0.25, base_scale=2.0)
    assert again.vae.backbone == TINY
    assert all(
        torch.equal(tensor, again.vae.state_dict()[name])
        for name, tensor in vae.state_dict().items()
    )
    assert "a plain base VAE" in inspect_file(tmp_path / "base.safetensors").lines[0]
    with pytest.raises(CheckpointError, match="a plain base VAE, not a DA-VAE"):
        load_codec(tmp_path / "base.safetensors")


def test_every_stock_layout_gives_the_same_vae(golden, tmp_path):
    reference = load_base_vae(golden / "base_vae")
    assert reference.layout == PLAIN_SD3
    ldm = {name: tensor.clone() for name, tensor in reference.vae.state_dict().items()}
    save_file(ldm, tmp_path / "sd3_vae.safetensors")
    full = {f"first_stage_model.{name}": tensor for name, tensor in ldm.items()}
    save_file(
        full | {"model.diffusion_model.x": torch.zeros(1)}, tmp_path / "checkpoint.safetensors"
    )
    diffusers = load_file(golden / "base_vae" / "diffusion_pytorch_model.safetensors")
    save_file(diffusers, tmp_path / "diffusers.safetensors")
    for name in ("sd3_vae.safetensors", "checkpoint.safetensors", "diffusers.safetensors"):
        found = load_base_vae(tmp_path / name, channels=16, like=PRESETS["sd3"].layout)
        assert found.layout == PLAIN_SD3
        assert found.vae.state_dict().keys() == reference.vae.state_dict().keys()
        assert all(
            torch.equal(t, found.vae.state_dict()[n]) for n, t in reference.vae.state_dict().items()
        )


def test_a_diffusers_folders_own_settings_count(golden, tmp_path):
    settings = json.loads((golden / "base_vae" / "config.json").read_text())
    settings |= {"norm_num_groups": 8, "scaling_factor": 0.5, "shift_factor": None}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = (golden / "base_vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    found = load_base_vae(tmp_path)
    assert (found.layout.base_shift, found.layout.base_scale) == (0.0, 0.5)
    assert found.vae.backbone.norm_groups == 8


def test_a_file_that_says_no_shift_and_scale_and_is_like_none_is_left_as_it_is(tmp_path):
    save_file(KLAutoencoder(SD1, 32).state_dict(), tmp_path / "stock.safetensors")
    found = load_base_vae(tmp_path / "stock.safetensors")
    assert found.layout == LatentLayout(32, 0, 4, 1, base_shift=0.0, base_scale=1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(scale=0.0), "base_scale must not be 0"),
        (lambda d: d.update(shift="x"), "shift is 'x', but it must be a number"),
        (lambda d: d["backbone"].pop("widths"), "widths"),
    ],
)
def test_a_base_file_whose_numbers_mean_nothing_is_refused(tmp_path, change, words):
    path = tmp_path / "base.safetensors"
    save_base_vae(path, KLAutoencoder(TINY, 4), shift=0.5, scale=2.0)
    rewrite(path, change_metadata=change)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_base_vae(path)
    assert str(path) in str(caught.value)


def test_an_sd1_vae_given_as_sd3_is_refused(tmp_path):
    save_file(
        KLAutoencoder(TINY, 4).state_dict(),
        tmp_path / "sd1.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"4 latent channels, but 16 are needed.*not an SD1"):
        load_base_vae(tmp_path / "sd1.safetensors", channels=16)


def test_a_folder_without_weights_and_a_compact_davae_are_no_base(tmp_path, tiny_codec):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no diffusion_pytorch_model\.safetensors"):
        load_base_vae(tmp_path / "empty")
    save_codec(tmp_path / "compact.safetensors", tiny_codec, compact=True)
    with pytest.raises(CheckpointError, match="a compact DA-VAE, without its base decoder: pick"):
        load_base_vae(tmp_path / "compact.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a VAE: pick a VAE file"):
        load_base_vae(tmp_path / "other.safetensors")


def test_a_davae_is_the_base_that_it_was_grown_from_too(tiny_codec, codec_file):
    base = load_base_vae(codec_file)
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    moments = base.vae.encode_moments(pictures)
    assert torch.equal(moments.mean, base_moments(tiny_codec, pictures).mean)
    assert base.vae.decode(moments.mean).isfinite().all()
    assert (base.layout.detail_channels, base.layout.ratio) == (0, 1)
    assert base.layout.base_scale == tiny_codec.layout.base_scale
    with pytest.raises(CheckpointError, match="latent channels, but 5 are needed"):
        load_base_vae(codec_file, channels=5)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(layout=[1, 2]),
        lambda d: d["layout"].update(ratio=2.0),
        lambda d: d["layout"].update(ratio=3),
        lambda d: d["backbone"].update(widths=[8.0, 16.0, 16.0]),
        lambda d: d.update(kind=["vae"]),
        lambda d: d.update(parents=[]),
        lambda d: d.update(stem_order=["x"]),
    ],
)
def test_metadata_of_the_wrong_kind_is_one_sentence(codec_file, change):
    rewrite(codec_file, change_metadata=change)
    with pytest.raises(CheckpointError) as caught:
        inspect_file(codec_file)
    sentence = str(caught.value)
    assert str(codec_file) in sentence
    assert ".)" not in sentence and ". " not in sentence.replace(str(codec_file), "")


def test_a_file_without_parents_can_still_be_inspected(codec_file):
    rewrite(codec_file, change_metadata=lambda d: d.pop("parents"))
    assert "Base encoder: unknown" in inspect_file(codec_file).lines[-1]


def test_detail_statistics_that_divide_by_zero_are_refused(codec_file):
    rewrite(codec_file, change_tensors=lambda t: t["detail.std"].zero_())
    with pytest.raises(CheckpointError, match="detail statistics that cannot be used"):
        read_codec_file(codec_file)


def test_an_incomplete_base_file_and_a_flat_kernel_are_one_sentence(tmp_path):
    described = {"kind": "base_vae", "format_version": 1}
    save_file(
        {"a": torch.zeros(1)}, tmp_path / "base.safetensors", {"davae": json.dumps(described)}
    )
    with pytest.raises(CheckpointError, match="damaged DA-VAE metadata"):
        inspect_file(tmp_path / "base.safetensors")
    save_file({"decoder.conv_in.weight": torch.zeros(4)}, tmp_path / "flat.safetensors")
    assert "an unknown kind of file" in inspect_file(tmp_path / "flat.safetensors").lines[0]
    with pytest.raises(CheckpointError, match="not a VAE"):
        load_base_vae(tmp_path / "flat.safetensors")


def test_a_pipeline_folder_uses_its_own_vaes_settings(golden, tmp_path):
    (tmp_path / "vae").mkdir()
    settings = json.loads((golden / "base_vae" / "config.json").read_text())
    settings |= {"scaling_factor": 0.3611, "shift_factor": 0.1159}
    (tmp_path / "vae" / "config.json").write_text(json.dumps(settings))
    weights = (golden / "base_vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    found = load_base_vae(tmp_path)
    assert (found.layout.base_shift, found.layout.base_scale) == (0.1159, 0.3611)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["backbone"].update(res_blocks=10**9), "res_blocks is 1000000000, but it must"),
        (
            lambda d: d["backbone"].update(res_blocks=16),
            "with 16 blocks, but the tensors' names of 3 with 1",
        ),
        (lambda d: d["backbone"].update(widths=[8] * 1000), "widths has 1000 values"),
        (lambda d: d["backbone"].update(widths=[8] * 8), "resolution levels make 128"),
        (lambda d: d["backbone"].update(norm_groups=0), "norm_groups is 0"),
        (lambda d: d["backbone"].update(unheard_of=1), "unheard_of"),
        (
            lambda d: d["layout"].update(base_shift="x"),
            "base_shift is 'x', but it must be a number",
        ),
        (lambda d: d["layout"].update(ratio=2.0), "ratio is 2.0, but it must be a whole number"),
        (lambda d: d["layout"].update(base_channels=10**12), "base_channels is 1000000000000"),
        (lambda d: d.update(shared_trunk=1), "shared_trunk is 1, but it must be true or false"),
        (lambda d: d.update(backbone=small(3, 10**9)), "blocks is 1000000000, but it must lie"),
        (lambda d: d.update(backbone=small(3, 16)), "of 3 levels with 16 blocks, but"),
        (lambda d: d.update(backbone=small(500, 1)), "levels is 500, but it must lie between"),
    ],
)
def test_sizes_are_compared_with_the_tensors_before_anything_is_built(codec_file, change, words):
    rewrite(codec_file, change_metadata=change)
    for read in (read_codec_file, inspect_file):
        with pytest.raises(CheckpointError, match="damaged DA-VAE metadata") as caught:
            read(codec_file)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.uint16, torch.int64, torch.float8_e4m3fn]
)
def test_weights_that_are_none_are_refused(codec_file, tmp_path, dtype):
    def change(tensors):
        name = "joint.up.conv.bias"
        tensors[name] = tensors[name].to(dtype)

    rewrite(codec_file, change_tensors=change)
    with pytest.raises(
        CheckpointError, match=r"holds joint\.up\.conv\.bias as .*, which is no type of weights"
    ):
        read_codec_file(codec_file)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scaling_factor": ["x"]}, "scaling_factor is"),
        ({"scaling_factor": 0}, "base_scale must not be 0"),
        ({"shift_factor": "0.1"}, "shift_factor is '0.1', but it must be a number"),
        ({"norm_num_groups": 0}, "norm_num_groups is 0"),
        ({"norm_num_groups": 10**9}, "norm_num_groups is 1000000000"),
        ({"norm_num_groups": 5}, "5 normalisation groups"),
    ],
)
def test_the_settings_of_a_diffusers_folder_are_checked(golden, tmp_path, settings, words):
    folder = tmp_path / "vae"
    shutil.copytree(golden / "base_vae", folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **settings}))
    with pytest.raises(CheckpointError) as caught:
        load_base_vae(folder)
    assert words in str(caught.value) and str(folder) in str(caught.value)


def small(levels, blocks):
    """Sizes of a small autoencoder in our JSON."""
    return {"width": 8, "levels": levels, "blocks": blocks, "shift": 0.0, "scale": 1.0}


def test_a_configuration_nested_too_deep_is_one_sentence(golden, tmp_path):
    folder = tmp_path / "vae"
    shutil.copytree(golden / "base_vae", folder)
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        load_base_vae(folder)
