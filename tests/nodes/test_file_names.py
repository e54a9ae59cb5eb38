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
        # Some ComfyUI let every value through to a node of the new kind; then the node asks its list.
        if result.refused is None:
            assert " is not in " in result.sentence and "pick " in result.sentence
        else:
            assert "not in list" in str(result.refused)
