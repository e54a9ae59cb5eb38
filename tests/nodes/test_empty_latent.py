"""Empty DA-VAE Latent on a real server."""

from safetensors.torch import load_file

from tests.comfyui.graphs import node


def test_an_empty_latent_has_32_channels_on_a_grid_of_16_pixels(server):
    wide = node("DAVAE_EmptyLatent", width=1024, height=64, batch_size=2)
    server.run(
        {
            "latent": wide,
            "saved": node("SaveLatent", samples=["latent", 0], filename_prefix="empty"),
        }
    )
    saved = next((server.base / "output").glob("empty_*.latent"))
    latents = load_file(saved)["latent_tensor"]
    assert latents.shape == (2, 32, 4, 64) and not latents.any()
