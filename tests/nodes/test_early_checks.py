"""Wrong values are refused before anything runs, with our sentence: HTTP 400, not an error after thirty paid steps."""

import pytest

from tests.comfyui import base_directory as files
from tests.comfyui.graphs import (
    FILE_BUNDLED,
    decode,
    detail_sampler,
    empty_latent,
    load,
    load_model,
    node,
    prompts,
    sampler,
    save,
)
from tests.nodes.test_bad_input import assert_one_sentence

NAN = float("nan")


def drawing(**changed):
    """A whole graph that would draw with the bundled files."""
    return {
        **prompts(),
        "model": load_model(FILE_BUNDLED, FILE_BUNDLED),
        "latent": empty_latent(256, 256),
        "drawn": sampler(),
        "vae": load(FILE_BUNDLED),
        "image": decode(samples=["drawn", 0]),
        "saved": save("image"),
        **changed,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drawn": sampler(cfg=NAN)}, "DA-VAE Sampler was given nan for cfg: use a number between 0 and 100."),
        ({"drawn": sampler(cfg=101.0)}, "was given 101 for cfg"),
        ({"drawn": sampler(shift=NAN)}, "for shift: use a number between 0 and 100."),
        ({"drawn": sampler(shift=-1.0)}, "was given -1 for shift"),
        ({"drawn": sampler(denoise=NAN)}, "for denoise: use a number between 0 and 1."),
        ({"drawn": sampler(denoise=1.5)}, "was given 1.5 for denoise"),
        ({"drawn": sampler(sampler_name="no")}, "has no sampler_name 'no'"),
        ({"drawn": sampler(scheduler="no")}, "has no scheduler 'no'"),
        ({"drawn": detail_sampler(strength=NAN)}, "DA-VAE Detail Sampler was given nan for strength"),
        ({"drawn": detail_sampler(cfg=NAN)}, "was given nan for cfg"),
        ({"latent": empty_latent(250, 256)}, "width of 250 pixels, because a latent cell is 16 pixels: use 240"),
        ({"latent": empty_latent(256, 260)}, "height of 260 pixels"),
        ({"latent": empty_latent(-16, 256)}, "was given -16 for width: use a number between 64 and 12288."),
        ({"latent": empty_latent(256, 99984)}, "for height"),
        ({"vae": load("gone.safetensors")}, "Load DA-VAE has no file 'gone.safetensors'"),
        ({"model": load_model(FILE_BUNDLED, "gone.safetensors")}, "has no adapter 'gone.safetensors'"),
        ({"model": load_model(FILE_BUNDLED, FILE_BUNDLED, "int3")}, "has no weight_dtype 'int3'"),
        ({"image": decode("quick", ["drawn", 0])}, "DA-VAE Decode has no mode 'quick'"),
        ({"clip": node("DAVAE_LoadMiniCLIP", clip_name="gone")}, "Load Miniature CLIP has no file 'gone'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_before_anything_runs(server, change, words):
    result = server.run(drawing(**change))
    assert result.refused is not None and words in result.sentence
    assert_one_sentence(result.sentence)


def test_values_of_links_are_left_to_the_nodes(server):
    numbers = {"width": node("PrimitiveInt", value=256), "cfg": node("PrimitiveFloat", value=2.0)}
    latent = node("DAVAE_EmptyLatent", width=["width", 0], height=256, batch_size=1)
    drawn = sampler(cfg=["cfg", 0], steps=1)
    assert server.run(drawing(**numbers, latent=latent, drawn=drawn)).outputs["saved"]["images"]


def test_the_cells_of_a_connected_model_decide_which_sizes_are_odd(server):
    latent = node(
        "DAVAE_EmptyLatent",
        width=264,
        height=256,
        batch_size=1,
        model=["model", 0],
        size="width x height",
    )
    result = server.run(drawing(latent=latent))
    assert result.refused is None and "width of 264 pixels" in result.sentence


def test_files_that_a_loader_does_not_offer_for_a_wrong_kind_fail_where_they_are_read(server):
    result = server.run(drawing(vae=load(files.TRUNCATED)))
    assert result.refused is None and "cut short" in result.sentence
