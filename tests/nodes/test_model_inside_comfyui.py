"""Our MODEL inside a real ComfyUI process (tests/comfyui/inside_model.py measures, this file judges)."""

import pytest

from tests.comfyui.process import answers_of, answers_of_process
from tests.comfyui.tiny_models import write_transformers


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Answers of every experiment, from one process."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("diffusion_models", "checkpoints", "loras", "vae_approx"):
        (folder / name).mkdir()
    write_transformers(folder)
    return answers_of_process("inside_model.py", folder, answers=folder / "answers.json")


@answers_of("tokens")
def test_the_transformer_sees_1024_tokens_at_1024_pixels_and_4096_at_2048(found):
    assert found["1024"] and set(found["1024"]) == {1024}
    assert found["2048"] and set(found["2048"]) == {4096}


@answers_of("warm_start")
def test_without_adapter_the_base_channels_are_what_the_stock_model_draws(found):
    for grid in found.values():
        assert grid["size"] > 0.5
        assert grid["base"] < 1e-5


@answers_of("warm_start")
def test_without_adapter_the_detail_stays_the_noise_it_was(found):
    assert max(grid["detail"] for grid in found.values()) < 1e-6


@answers_of("float8")
def test_float8_weights_draw_nearly_the_same(found):
    assert found["dtype"] == "torch.float8_e4m3fn"
    assert 0 < found["stored"] < 0.5 * found["size"]
    assert 0 < found["chosen"] < 0.5 * found["size"]


@answers_of("float8_named_in_metadata")
def test_layers_quantised_by_name_are_read_so_or_refused_by_a_comfyui_that_cannot(found):
    if "sentence" in found:
        assert "quantised" in found["sentence"] and "update ComfyUI" in found["sentence"]
    else:
        assert 0 < found["difference"] < 0.5 * found["size"]


@answers_of("imported_twice")
def test_a_second_copy_of_the_pack_knows_the_models_it_loads(found):
    assert found == {"shift": 4.0, "registered": 1}


@answers_of("another_copy")
def test_comfyui_can_read_the_model_once_more_for_a_copy(found):
    assert found["other_object"] and found["difference"] == 0


@answers_of("preference")
def test_bfloat16_is_preferred_and_float16_left_out_where_that_works(found):
    assert found["with"] == ["torch.bfloat16", "torch.float32"]
    assert found["without"] == ["torch.bfloat16", "torch.float16", "torch.float32"]
    # A CPU is no place for bfloat16, says ComfyUI.
    assert found["here"] == found["without"]


@answers_of("preview")
def test_the_padded_preview_decoder_draws_what_the_plain_one_draws_of_the_base(found):
    assert found["previewer"] == "TAESDPreviewerImpl" and found["first_layer"] == [64, 32, 3, 3]
    assert found["size"] == [32, 48] and not found["flat"]
    # Its first layer has more channels: rounding to bytes may fall the other way.
    assert found["difference"] <= 1


@answers_of("other_channels")
def test_other_channel_counts_than_sd35_s_are_loaded_drawn_and_previewed(found):
    for name, detail, shape in (("48 at 2", 48, [1, 64, 4, 4]), ("256 at 4", 256, [1, 272, 4, 4])):
        answer = found[name]
        assert answer["shape"] == shape and answer["preview"] == 16 + detail
        assert answer["apart"] < 1e-5 < 0.1 < answer["drawn"]


@answers_of("saved_checkpoint")
def test_a_saved_checkpoint_gives_the_model_back_and_load_davae_the_davae(found):
    assert found["model"] < 1e-5
    assert found["vae"] == 0 and found["hash"]


@answers_of("saved_checkpoint")
def test_the_stock_loader_takes_no_davae_for_a_plain_vae(found):
    assert found["stock_vae_is_empty"]
