"""ControlNets on our MODEL in a real ComfyUI process (tests/comfyui/inside_control.py measures, this file judges)."""

import pytest

from tests.comfyui.base_directory import write_codecs
from tests.comfyui.process import answers_of, answers_of_process
from tests.comfyui.tiny_controlnets import write_controlnets
from tests.comfyui.tiny_models import write_transformers


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Answers of every experiment, from one process."""
    folder = tmp_path_factory.mktemp("control")
    for name in ("diffusion_models", "checkpoints", "loras", "vae"):
        (folder / name).mkdir()
    write_transformers(folder)
    write_codecs(folder / "vae")
    write_controlnets(folder / "controlnet")
    return answers_of_process("inside_control.py", folder, answers=folder / "answers.json")


@answers_of("diffusers", "stability", "stability_double")
def test_the_control_acts_at_strength_1_and_not_at_strength_0(found):
    assert found["finite"]
    assert found["at_0"] == 0
    assert found["at_1"] > 0.01


@answers_of("diffusers", "stability", "stability_double")
def test_without_adapter_the_base_channels_are_what_the_stock_control_draws_on_the_stock_model(
    found,
):
    assert found["from_stock"] < 1e-5


@answers_of("on_an_adapted_model")
def test_on_an_adapted_model_base_and_detail_follow_the_control(found):
    assert found["at_0"] == 0
    assert min(found["base"], found["detail"]) > 0.01


@answers_of("the_davae_as_hint_encoder")
def test_a_da_vae_encodes_the_control_s_picture_by_its_base_channels(found):
    assert found["compression"] == 16 and found["shape"] == [1, 16, 6, 4]
    assert found["difference"] == 0
    assert found["moved"] > 0.01


@answers_of("two_in_a_row")
def test_a_second_control_adds_to_the_first(found):
    assert found["second"] > 0.01


@answers_of("refusals")
def test_a_control_that_does_not_fit_is_refused_in_one_sentence(found):
    assert "192 wide" in found["width"] and "128 wide" in found["width"]
    assert "another family" in found["family"]
    assert "the model is Identity" in found["model"]
    for sentence in found.values():
        assert sentence.endswith(".") and ". " not in sentence.replace("3.5", "")
