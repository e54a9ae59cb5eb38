"""DA-VAE File Info on a real server."""

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
