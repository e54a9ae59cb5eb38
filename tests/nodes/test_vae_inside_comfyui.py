"""The VAE object inside a real ComfyUI process (tests/comfyui/inside_vae.py measures, this file judges)."""

import pytest
from PIL import Image
from skimage import data

from tests.comfyui.base_directory import write_codecs
from tests.comfyui.process import answers_of, answers_of_process


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Answers of every experiment, from one process."""
    folder = tmp_path_factory.mktemp("inside")
    write_codecs(folder)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    picture = folder / "astronaut.png"
    return answers_of_process("inside_vae.py", folder, picture, answers=folder / "answers.json")


@answers_of("agreement_with_the_core")
def test_the_vae_object_computes_what_the_core_computes(found):
    assert found["latent_shape"] == [2, 32, 15, 20] and found["draft_shape"] == [2, 120, 160, 3]
    assert max(found["encode"], found["decode"], found["draft"]) < 1e-4


@answers_of("agreement_with_the_core")
def test_the_vae_object_holds_the_file_s_tensors_under_their_names(found):
    assert found["keys"] and found["statistics"] == 0


@answers_of("packed_detail")
def test_a_packed_codec_gives_pictures_back_as_its_plain_vae_does(found):
    assert found["latent_shape"] == [1, 80, 16, 20] and found["draft_shape"] == [1, 128, 160, 3]
    assert found["decode"] < 1e-5 and found["keys"]
    assert found["tiled"] < 2 / 255 and found["half"] < 2 / 255


@answers_of("agreement_with_comfyui")
def test_base_encoder_and_decoder_agree_with_comfyui_s_on_a_stock_sd3_vae(found):
    assert found["latent_size"] > 0.1
    assert max(found["encode"], found["decode"]) < 1e-4


@answers_of("a_small_vae_in_stock_hands")
def test_stock_comfyui_reads_a_small_base_vae_and_we_the_codec_on_it(found):
    assert max(found["encode"], found["decode"], found["codec"]) < 1e-4
    assert found["draft"] == [1, 32, 48, 3]


@answers_of("fallback_when_memory_runs_out")
def test_out_of_memory_falls_back_to_tiles_that_are_smaller(found):
    assert found["first"] == 48 * 40 and found["largest_after"] <= 32 * 32
    assert found["shape"] == [1, 768, 640, 3]


@answers_of("tiles_on_a_photograph")
def test_a_tiled_decode_differs_from_the_whole_by_less_than_2_of_255(found):
    assert found["mean_difference"] < 2 / 255


@answers_of("tiles_on_a_photograph")
def test_a_tiled_decode_shows_no_seam(found):
    # A step in (tiled - whole) where tiles meet would be a seam; latent cells meet everywhere else, too.
    assert found["step_at_borders"] < 1.25 * found["step_elsewhere"] + 0.2 / 255


@answers_of("work_and_memory_of_tiles")
def test_tiles_are_one_pass_of_little_more_work_and_ask_for_a_tiles_memory(found):
    whole, *tiles = found["cells"]
    assert whole == 40 * 40 and len(tiles) == 2 * 4
    assert sum(tiles) < 1.25 * 2 * whole
    for_all, for_tiles = found["asked"]
    assert for_tiles < for_all


@answers_of("tiles_of_an_encode")
def test_a_tiled_encode_is_one_pass_near_the_whole(found):
    # The trunk's features in tiles of 256 x 224 pixels, at an eighth.
    assert found["calls"] == [[32, 28], [32, 28]]
    assert found["difference"] < 0.1


@answers_of("drafts_on_their_own")
def test_the_base_decoder_is_loaded_for_drafts_alone(found):
    assert "decoder" not in found["full"] and "joint" in found["full"]
    assert found["draft"] == ["decoder"]


@answers_of("interruption")
def test_an_interrupt_passes_through_a_draft(found):
    assert found["raised"] == "InterruptProcessingException"
    assert found["afterwards"] == [1, 32, 32, 3]


@answers_of("another_copy")
def test_comfyui_can_copy_the_vae_from_its_file(found):
    assert found["other_object"] and found["equal"]


@answers_of("half_precision")
def test_bfloat16_stays_near_float32(found):
    assert found["dtype"] == "torch.bfloat16" and found["out"] == "torch.float32"
    assert found["encode"] < 0.05 and found["decode"] < 0.1


@answers_of("keyword_filter")
def test_keywords_this_comfyui_lacks_are_left_out(found):
    assert found["schema"] == {"node_id": "x"} and found["input"] == {"tooltip": "x"}


@answers_of("self_test")
def test_this_comfyui_has_all_that_the_nodes_build_on(found):
    assert found["problems"] == []
