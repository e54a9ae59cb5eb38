"""Samplers that keep the base, inside a real ComfyUI process (tests/comfyui/inside_locking.py measures)."""

import pytest

from tests.comfyui.process import answers_of, answers_of_process
from tests.comfyui.tiny_models import DETAIL, write_transformers
from tests.nodes.test_bad_input import assert_one_sentence


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Answers of every experiment, from one process."""
    folder = tmp_path_factory.mktemp("locking")
    for name in ("diffusion_models", "checkpoints", "loras"):
        (folder / name).mkdir()
    write_transformers(folder)
    return answers_of_process("inside_locking.py", folder, answers=folder / "answers.json")


@answers_of("every_sampler")
def test_every_sampler_gives_the_base_back_to_the_last_bit_and_draws_a_detail(found):
    assert len(found) > 100
    for name, end in found.items():
        assert end["same"] and end["finite"] and end["detail"] > 0.1, name


@answers_of("what_the_network_sees")
def test_a_detail_adapter_sees_the_base_clean_and_a_joint_one_as_noisy_as_the_detail(found):
    assert found["detail"]["clean"] == 0 and found["detail"]["noised"] > 1
    assert found["joint"]["noised"] < 1e-6 and found["joint"]["clean"] > 1


@answers_of("by_hand")
def test_the_detail_is_what_euler_steps_with_the_transformer_alone_draw(found):
    assert found["difference"] < 1e-5 * found["size"]


@answers_of("two_halves")
def test_a_joint_adapter_sees_a_noised_base_in_the_second_half_of_a_schedule_too(found):
    assert len(found["noise"]) >= 2
    for spread in found["noise"]:
        assert spread == pytest.approx(1, abs=0.1)


@answers_of("masked")
def test_a_mask_keeps_the_detail_outside_it_and_the_base_everywhere(found):
    for mode in found.values():
        assert mode["base"] and mode["outside"] < 1e-6 and mode["inside"] > 0.1


@answers_of("masked")
def test_without_any_noise_nothing_changes(found):
    assert [mode["nothing"] for mode in found.values()] == [0, 0]


@answers_of("batch")
def test_every_picture_of_a_batch_keeps_its_own_base(found):
    assert found["same"] and found["apart"] > 0.1


@answers_of("batch")
def test_a_half_precision_base_comes_back_to_the_last_bit(found):
    assert found["half"]


@answers_of("unlocked")
def test_a_detail_adapter_without_lock_an_empty_latent_and_other_channels_are_refused(found):
    assert DETAIL in found["no lock"] and "Lock DA-VAE Base" in found["no lock"]
    assert "empty latent" in found["empty"]
    assert "16 channels" in found["channels"] and "32" in found["channels"]
    for sentence in found.values():
        assert_one_sentence(sentence)


@answers_of("untouched")
def test_the_lock_is_on_a_clone_and_once(found):
    assert found["locked"] == [False, True, True]
    assert found["wrappers"] == 1 and found["same"] and not found["options"]
