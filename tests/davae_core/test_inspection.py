"""What a file says of itself is shown in terminals and in ComfyUI's page: never more than plain text of it."""

import json
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from davae_core.cli.commands import main
from davae_core.codec.files import save_codec
from davae_core.files import CheckpointError, read_safetensors
from davae_core.inspection import inspect_file
from davae_core.latents import LatentLayout
from davae_core.transformer.description import (
    DESCRIPTION,
    Advice,
    ModelDescription,
    description_tensor,
    read_description,
)

LAYOUT = LatentLayout(16, 16, 8, 2, 0.0, 1.0)
SCRIPT = "<img src=x onerror=alert(1)>"
FORGED = "x.\nNeeds: nothing, it is safe.\x1b[31m"


def adapter(path, **parents):
    """A file that says it is an adapter with these parents."""
    told = ModelDescription(LAYOUT, kind="adapter").as_json()
    told["parents"] = parents
    save_file({"a.lora_A.weight": torch.zeros(2, 2)}, path, {"davae": json.dumps(told)})
    return path


@pytest.mark.parametrize(
    "parents",
    [
        {"base_name": SCRIPT}, {"base_name": FORGED}, {"base_name": "a" * 101}, {"vae": 5}, {"vae": SCRIPT},
        {"vae": None}, {"base": SCRIPT}, {"base": "A" * 5000}, {SCRIPT: "a"}, {"unheard_of": FORGED},
        {"adapter": ["a"]},
    ],
)  # fmt: skip
def test_parents_that_are_not_what_they_should_be_are_refused(tmp_path, parents):
    with pytest.raises(CheckpointError, match=r"damaged DA-VAE metadata \(parents\.") as error:
        inspect_file(adapter(tmp_path / "adapter.safetensors", **parents))
    assert not set(str(error.value)) & set("<>&\n\x1b") and len(str(error.value)) < 600


def test_what_may_be_shown_is(tmp_path):
    parents = {"base_name": "sd3.5_medium (1).safetensors", "vae": "0a" * 32}
    lines = inspect_file(adapter(tmp_path / "adapter.safetensors", **parents)).lines
    assert (
        "Needs: sd3.5_medium (1).safetensors, and the DA-VAE it was trained with (0a0a0a0a0a0a)."
        in lines
    )


@pytest.mark.parametrize(
    "told", [{"x": SCRIPT}, {SCRIPT: 1}, {"x": [[FORGED]]}, {"encoding": "zz"}]
)
def test_no_text_of_any_metadata_is_anything_but_plain(tmp_path, tiny_codec, told):
    path = tmp_path / "codec.safetensors"
    save_codec(path, tiny_codec)
    tensors, metadata = read_safetensors(path)
    save_file(tensors, path, {"davae": json.dumps({**json.loads(metadata["davae"]), **told})})
    with pytest.raises(CheckpointError, match="damaged DA-VAE metadata") as error:
        inspect_file(path)
    assert not set(str(error.value)) & set("<>&\n\x1b")


@pytest.mark.parametrize("name", [SCRIPT, FORGED, "a" * 400, "\u202ea"])
def test_a_name_that_no_model_gives_a_tensor_is_refused(tmp_path, name):
    save_file({name: torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="names a tensor") as error:
        inspect_file(tmp_path / "a.safetensors")
    assert not set(str(error.value)) & set("<>&\n\x1b") and len(str(error.value)) < 400


def test_a_file_s_own_name_is_shown_as_plain_text(tmp_path, capsys):
    path = tmp_path / "<b onclick=x>\x1b[31m\nNeeds: nothing.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert (
        inspect_file(path)
        .lines[0]
        .startswith("?b onclick=x??[31m Needs: nothing.safetensors is an")
    )
    assert main(["inspect", str(path)]) == 0
    assert main(["inspect", str(path) + "\x1b[1m"]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 2 and err.count("\n") == 1
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3_000_000_000),
        torch.tensor([3_000_000_000]),
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.zeros(2**16 + 1, dtype=torch.uint8),
        torch.zeros(10),
        torch.zeros(0, dtype=torch.uint8),
    ],
    ids=str,
)
def test_a_description_that_is_no_short_row_of_bytes_takes_no_memory(tmp_path, tensor):
    with pytest.raises(ValueError, match="the model's own description is damaged"):
        read_description(tensor)
    save_file({DESCRIPTION: tensor}, tmp_path / "a.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="is no whole merged DA-VAE model"):
        inspect_file(tmp_path / "a.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18


def test_a_description_of_bytes_is_checked_as_metadata_is():
    found = ModelDescription(LAYOUT, Advice(sizes=(256,)), {"base_name": "a"})
    tensor = description_tensor(found)
    assert read_description(tensor) == found
    hostile = bytes(tensor.tolist()).replace(b'"a"', json.dumps(SCRIPT).encode())
    with pytest.raises(ValueError, match="base_name is"):
        read_description(torch.tensor(list(hostile), dtype=torch.uint8))


def test_a_damaged_latent_or_adapter_of_another_rank_is_one_sentence(tmp_path):
    told = {"kind": "latent", "format_version": 1, "layout": vars(LAYOUT), "parents": {}}
    path = tmp_path / "a.safetensors"
    for shape in ([], [1], [1, 1, 1, 1, 1]):
        save_file({"samples": torch.zeros(shape)}, path, {"davae": json.dumps(told)})
        with pytest.raises(CheckpointError, match="samples has the shape"):
            inspect_file(path)
    path = adapter(path)
    tensors = {"a.lora_A.weight": torch.zeros(())}
    with_metadata = {"davae": json.dumps(ModelDescription(LAYOUT, kind="adapter").as_json())}
    save_file(tensors, path, with_metadata)
    assert "a LoRA of rank 0" in " ".join(inspect_file(path).lines)
    assert load_file(path).keys() == tensors.keys()
