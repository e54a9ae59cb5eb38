"""DA-VAE File Info on a real server."""

import json

import torch
from safetensors.torch import save_file

from davae_core.presets import SD3
from davae_core.transformer.description import ModelDescription
from tests.comfyui import base_directory as files
from tests.comfyui.graphs import FILE_BUNDLED, node


def test_the_file_info_knows_a_codec_in_the_loras_folder_and_the_miniature(server):
    for choice in ("loras/misplaced.safetensors", FILE_BUNDLED):
        text = server.run({"info": node("DAVAE_Inspect", file=choice)}).outputs["info"]["text"][0]
        assert "is a DA-VAE" in text and "16 base + 16 detail channels" in text


def test_a_replaced_file_is_read_again(server):
    path = server.base / "models" / "vae" / "davae_replaced.safetensors"
    path.write_bytes((server.base / "models/vae" / files.RANDOM).read_bytes())
    info = {"info": node("DAVAE_Inspect", file="vae/davae_replaced.safetensors")}
    whole = server.run(info).outputs["info"]["text"][0]
    path.write_bytes((server.base / "models/vae" / files.COMPACT).read_bytes())
    assert "the base decoder is inside" in whole
    assert "with the stock VAE" in server.run(info).outputs["info"]["text"][0]


def test_what_a_file_says_of_itself_runs_nothing_in_the_page(server):
    """The text goes into ComfyUI's page, as HTML in some versions of it."""
    path = server.base / "models" / "loras" / "evil.safetensors"
    script = "<img src=x onerror=alert(1)>"
    told = ModelDescription(SD3.layout, kind="adapter").as_json()
    told["parents"] = {"base_name": script}
    save_file({"a.lora_A.weight": torch.zeros(2, 2)}, path, {"davae": json.dumps(told)})
    result = server.run({"info": node("DAVAE_Inspect", file="loras/evil.safetensors")})
    assert "evil.safetensors has damaged DA-VAE metadata (parents.base_name is" in result.sentence
    assert not set(result.sentence) & set("<>&")


def test_a_file_s_own_name_runs_nothing_in_the_page(server):
    name = "<img src=x onerror=alert(1)>.safetensors"
    (server.base / "models" / "loras" / name).write_bytes(
        (server.base / "models/vae" / files.RANDOM).read_bytes()
    )
    outputs = server.run({"info": node("DAVAE_Inspect", file=f"loras/{name}")}).outputs
    text = outputs["info"]["text"][0]
    assert text.startswith("?img src=x onerror=alert(1)?.safetensors is a DA-VAE")
    assert not set(text) & set("<>&")
