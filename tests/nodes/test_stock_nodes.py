"""ComfyUI's own VAE nodes on a DA-VAE, beside ours, on a picture whose sides are no multiples of 16."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from davae_core import mini
from davae_core.codec.files import load_base_vae
from davae_core.images import image_from_pil
from tests.comfyui import base_directory as files
from tests.comfyui.graphs import decode, load, node, save

WIDTH, HEIGHT = 330, 250
TILES = {"tile_size": 128, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}
VAE = ["vae", 0]
ENCODERS = {
    "ours": node("DAVAE_Encode", image=["picture", 0], vae=VAE),
    "stock": node("VAEEncode", pixels=["picture", 0], vae=VAE),
    "tiled": node("VAEEncodeTiled", pixels=["picture", 0], vae=VAE, **TILES),
    "inpaint": node(
        "VAEEncodeForInpaint", pixels=["picture", 0], vae=VAE, mask=["picture", 1], grow_mask_by=6
    ),
}
DECODERS = {
    "ours_decoded": decode(samples=["ours", 0]),
    "stock_decoded": node("VAEDecode", samples=["ours", 0], vae=VAE),
    "ours_tiled": decode("tiled", samples=["ours", 0], tile_size=128),
    "stock_tiled": node("VAEDecodeTiled", samples=["ours", 0], vae=VAE, **TILES),
    "inpaint_decoded": node("VAEDecode", samples=["inpaint", 0], vae=VAE),
    "draft": decode("draft", samples=["ours", 0]),
}


@pytest.fixture(scope="module")
def swept(server):
    """All encoders and decoders in one graph: latents by encoder, pictures by decoder."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
    picture = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    graph = {
        "vae": load(files.RANDOM),
        "picture": node("LoadImage", image=server.upload(picture, "swept.png")),
        **ENCODERS,
        **DECODERS,
        **{f"save_{name}": save(name) for name in DECODERS},
        **{
            f"keep_{name}": node("SaveLatent", samples=[name, 0], filename_prefix=f"swept_{name}")
            for name in ENCODERS
        },
    }
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    pictures = {name: server.picture(result.outputs, f"save_{name}") for name in DECODERS}
    latents = {
        name: load_file(next((server.base / "output").glob(f"swept_{name}_*.latent")))
        for name in ENCODERS
    }
    return {name: found["latent_tensor"] for name, found in latents.items()}, pictures


def test_every_encoder_gives_32_channels_of_16_pixels_from_the_central_crop(swept):
    latents, _ = swept
    assert {tuple(found.shape) for found in latents.values()} == {
        (1, 32, HEIGHT // 16, WIDTH // 16)
    }
    assert all(torch.isfinite(found).all() for found in latents.values())


def test_the_stock_encode_is_ours(swept):
    latents, _ = swept
    assert torch.equal(latents["stock"], latents["ours"])


def test_the_inpaint_encode_without_a_mask_is_ours(swept):
    latents, _ = swept
    # It moves the masked pixels to grey and back, which costs rounding.
    assert torch.allclose(latents["inpaint"], latents["ours"], atol=1e-3)


def test_every_decoder_gives_the_cropped_size_and_the_draft_half_of_it(swept):
    _, pictures = swept
    draft = pictures.pop("draft")
    assert {found.size for found in pictures.values()} == {(320, 240)}
    assert draft.size == (160, 120)


def test_the_stock_decode_is_ours_to_the_last_bit(swept):
    _, pictures = swept
    assert np.array_equal(pictures["stock_decoded"], pictures["ours_decoded"])


def test_the_stock_tiled_decode_is_ours_at_equal_tiles(swept):
    _, pictures = swept
    assert np.array_equal(pictures["stock_tiled"], pictures["ours_tiled"])


def test_tiles_cover_the_picture_without_holes(swept):
    _, pictures = swept
    whole, tiled = (
        np.asarray(pictures[name], np.float32) for name in ("ours_decoded", "ours_tiled")
    )
    # One pass of tiles of 8 cells; an average of three tilings, as ComfyUI makes, is nearer.
    assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.85


def test_stock_nodes_on_a_packed_codec_give_a_picture_back_as_its_plain_vae_does(server):
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    picture = Image.fromarray(noise).resize((128, 96), Image.Resampling.BICUBIC)
    graph = {
        "vae": load(files.PACKED),
        "picture": node("LoadImage", image=server.upload(picture, "packed.png")),
        "latent": node("VAEEncode", pixels=["picture", 0], vae=VAE),
        "back": node("VAEDecode", samples=["latent", 0], vae=VAE),
        "ours": decode(samples=["latent", 0]),
        **{f"save_{name}": save(name) for name in ("back", "ours")},
    }
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    back, ours = (
        np.asarray(server.picture(result.outputs, f"save_{name}"), np.float32)
        for name in ("back", "ours")
    )
    assert np.array_equal(back, ours)
    vae = load_base_vae(mini.davae_path()).vae.float()
    with torch.inference_mode():
        own = vae.decode(vae.encode_moments(image_from_pil(picture)).mean).clamp(-1, 1)
    # ComfyUI cuts to 8 bits where rounding would be nearer.
    assert np.abs(back - (own[0].movedim(0, -1).numpy() + 1) * 127.5).max() < 1.01


def test_a_davae_saved_by_vae_save_is_the_same_davae(server):
    graph = {
        "vae": load(files.RANDOM),
        "saved": node("VAESave", vae=VAE, filename_prefix="vae/davae_kept"),
    }
    assert server.run(graph).error is None
    name = next((server.base / "output" / "vae").glob("davae_kept_*.safetensors")).name
    noise = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    picture = Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC)
    graph = {
        "vae": load(files.RANDOM),
        "again": load(name),
        "picture": node("LoadImage", image=server.upload(picture, "kept.png")),
        "latent": node("DAVAE_Encode", image=["picture", 0], vae=VAE),
        # Refused unless it is the one that the latent belongs to.
        "back": decode(samples=["latent", 0])
        | {"inputs": decode(samples=["latent", 0])["inputs"] | {"vae": ["again", 0]}},
        "ours": decode(samples=["latent", 0]),
        "info": node("DAVAE_Inspect", file=f"vae/{name}"),
        **{f"save_{name}": save(name) for name in ("back", "ours")},
    }
    result = server.run(graph)
    assert result.error is None and result.refused is None, result
    back, ours = (server.picture(result.outputs, f"save_{name}") for name in ("back", "ours"))
    assert np.array_equal(back, ours)
    assert "is a DA-VAE" in result.outputs["info"]["text"][0]
