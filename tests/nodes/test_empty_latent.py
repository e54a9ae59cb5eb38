"""Empty DA-VAE Latent on a real server."""

from safetensors.torch import load_file

from tests.comfyui.graphs import FILE_BUNDLED, load_model, node, prompts, sampler


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


def drawn(server, model=None, **inputs):
    """Width and height of an empty latent's cells, and what the node says of it."""
    given = {"width": 512, "height": 512, "batch_size": 1, **inputs}
    graph = {
        "latent": node(
            "DAVAE_EmptyLatent", **given, **({} if model is None else {"model": ["model", 0]})
        )
    }
    if model is not None:
        graph["model"] = model
    kept = node("SaveLatent", samples=["latent", 0], filename_prefix="told")
    outputs = server.run({**graph, "kept": kept}).outputs
    # What ran before is not run again, and tells nothing.
    told = outputs.get("latent", {"text": [""]})["text"][0]
    (latent,) = server.draw(graph, "latent")
    return (latent.shape[-1], latent.shape[-2]), told


def test_a_size_by_name_counts_and_is_told_in_tokens(server):
    cells, told = drawn(server, size="Portrait 832 x 1216")
    assert cells == (52, 76)
    assert told == "832 x 1216: 26 x 38 tokens, a quarter of the plain VAE's"
    assert drawn(server, size="width x height")[0] == (32, 32)


def test_a_connected_model_s_own_size_is_the_usual_one(server):
    bundled = load_model(FILE_BUNDLED, FILE_BUNDLED)
    cells, told = drawn(server, bundled)
    assert cells == (16, 16) and told.startswith("256 x 256: 8 x 8 tokens")
    assert drawn(server, bundled, size="width x height")[0] == (32, 32)
    # Nothing says what size an unadapted model is for.
    assert drawn(server, load_model(FILE_BUNDLED))[0] == (32, 32)


def test_a_graph_built_by_hand_with_every_default_draws(server):
    """The miniature at its own size, though the widgets of the latent say 1024."""
    graph = {
        **prompts(),
        "model": load_model(FILE_BUNDLED, FILE_BUNDLED),
        "latent": node(
            "DAVAE_EmptyLatent", width=1024, height=1024, batch_size=1, model=["model", 0]
        ),
        "drawn": sampler(steps=1),
    }
    assert server.draw(graph, "drawn")[0].shape == (1, 32, 16, 16)
