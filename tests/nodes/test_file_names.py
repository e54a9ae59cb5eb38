"""A workflow names files out of ComfyUI's lists; a path that leads elsewhere is refused before anything is read."""

import pytest

from tests.comfyui import base_directory as files
from tests.comfyui.graphs import decode, load, node, save


@pytest.mark.parametrize(
    "name",
    [
        "../../secret.safetensors",
        f"../vae/{files.RANDOM}",
        "../../../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\secret.safetensors",
        "\x00",
    ],
)
def test_a_path_out_of_the_model_folders_is_refused(server, name):
    whole = (server.base / "models" / "vae" / files.RANDOM).read_bytes()
    (server.base / "secret.safetensors").write_bytes(whole)
    empty = node("DAVAE_EmptyLatent", width=64, height=64, batch_size=1)
    for graph in (
        {"vae": load(name), "latent": empty, "image": decode(), "saved": save("image")},
        {"info": node("DAVAE_Inspect", file=f"vae/{name}")},
        {"info": node("DAVAE_Inspect", file=name)},
    ):
        result = server.run(graph)
        assert not result.outputs
        assert result.refused is not None and " has no file " in result.sentence


@pytest.mark.parametrize("name", ["deep/davae.safetensors", "deep\\davae.safetensors"])
def test_a_name_with_the_other_system_s_separators_is_found(server, name):
    folder = server.base / "models" / "vae" / "deep"
    folder.mkdir(exist_ok=True)
    whole = (server.base / "models" / "vae" / files.RANDOM).read_bytes()
    (folder / "davae.safetensors").write_bytes(whole)
    empty = node("DAVAE_EmptyLatent", width=64, height=64, batch_size=1)
    drawn = {"vae": load(name), "latent": empty, "image": decode(), "saved": save("image")}
    assert server.run(drawn).outputs["saved"]["images"]
    info = server.run({"info": node("DAVAE_Inspect", file=f"vae/{name}")})
    assert "is a DA-VAE" in info.outputs["info"]["text"][0]
