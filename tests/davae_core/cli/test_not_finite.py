"""NaN and infinity are refused before they are written, in one sentence, and what was there stays."""

import json

import pytest
import torch
from safetensors.torch import load_file

from davae_core.cli.commands import main
from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from davae_core.transformer.adapter import read_adapter, write_adapter
from davae_core.transformer.merging import plan_merge, write_merged
from davae_core.transformer.pretrained import load_transformer
from tests.davae_core.cli.test_bad_input import (  # noqa: F401
    OLD,
    fails,
    latent,
    photo,
    vae,
)
from tests.davae_core.cli.test_transformer_commands import (  # noqa: F401
    BASE,
    adapter,
    convert,
    folder,
)


def spoil(path, name, value=float("nan")):
    """One value of one tensor in a file, as it should not be."""
    tensors, metadata = read_safetensors(path)
    tensors[name].view(-1)[0] = value
    write_safetensors(path, tensors, metadata)


def test_encode_writes_no_latent_with_nan(vae, photo, fails):  # noqa: F811
    spoil(vae, "detail.down.conv.weight")
    sentence = fails("encode", photo, "o.safetensors", "--vae", vae)
    assert "o.safetensors was not written, because its samples would hold NaN" in sentence


@pytest.mark.parametrize("way", [[], ["--draft"], ["--tiled"]])
def test_a_latent_far_beyond_any_picture_is_a_sentence(vae, latent, fails, way):  # noqa: F811
    tensors, metadata = read_safetensors(latent)
    huge = {name: torch.full_like(tensor, 1e38) for name, tensor in tensors.items()}
    write_safetensors(latent, huge, metadata)
    sentence = fails("decode", latent, "o.png", "--vae", vae, *way)
    assert "This latent decodes to NaN or infinite values, so it is far from" in sentence


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e300"])
def test_convert_writes_no_statistics_that_are_no_numbers(
    published_file,
    tmp_path,
    fails,  # noqa: F811
    number,
):
    stats = tmp_path / "stats.json"
    stats.write_text(f'{{"mean": {json.dumps([0.0] * 15)[:-1]}, {number}], "std": {[1.0] * 16}}}')
    fails("convert", published_file, "o.safetensors", "--stats", stats)


def test_convert_writes_no_codec_with_nan(published, published_file, fails):  # noqa: F811
    published["dc_up.conv.weight"].view(-1)[0] = float("nan")
    torch.save(published, published_file)
    sentence = fails("convert", published_file, "o.safetensors")
    assert "because its joint.up.conv.weight would hold NaN" in sentence


def test_convert_writes_no_adapter_with_nan(folder, tmp_path, capsys):  # noqa: F811
    spoil(folder / "pytorch_lora_weights.safetensors", first_lora_name(folder))
    output = tmp_path / "o.safetensors"
    output.write_bytes(OLD)
    assert main(convert(folder, output)) == 1
    assert "o.safetensors was not written, because its transformer" in capsys.readouterr().err
    assert output.read_bytes() == OLD


def first_lora_name(folder):  # noqa: F811
    return min(load_file(folder / "pytorch_lora_weights.safetensors"))


def test_merge_takes_no_adapter_with_nan(folder, adapter, tmp_path, capsys):  # noqa: F811
    spoil(adapter, min(load_file(adapter)))
    output = tmp_path / "o.safetensors"
    output.write_bytes(OLD)
    assert main(["merge", str(folder / BASE), str(adapter), "-o", str(output)]) == 1
    assert f"{adapter} holds NaN or infinite values in" in capsys.readouterr().err
    assert output.read_bytes() == OLD
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "davae_adapter.safetensors", "in", "o.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float8_e4m3fn])
def test_a_base_with_nan_or_beyond_the_format_gives_no_merged_file(
    folder,  # noqa: F811
    adapter,  # noqa: F811
    tmp_path,
    dtype,
):
    base = load_transformer(folder / BASE)
    name = "joint_blocks.0.x_block.mlp.fc1.weight"
    base[name] = base[name].float()
    base[name].view(-1)[0] = 1e6 if dtype == torch.float16 else float("nan")
    plan = plan_merge(base, read_adapter(adapter))
    with pytest.raises(
        CheckpointError, match=rf"o\.safetensors was not written, because its {name}"
    ):
        write_merged(tmp_path / "o.safetensors", plan, dtype)
    assert not list(tmp_path.glob("*o.safetensors*"))


def test_an_adapter_with_nan_is_not_written(adapter, tmp_path):  # noqa: F811
    found = read_adapter(adapter)
    next(iter(found.edges.values())).view(-1)[0] = float("inf")
    with pytest.raises(CheckpointError, match=r"o\.safetensors was not written"):
        write_adapter(tmp_path / "o.safetensors", found)
