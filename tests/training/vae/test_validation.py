from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from davae_core.images import read_image, write_image
from davae_core.metrics import psnr
from training.vae.config import ValidationConfig
from training.vae.trainees import build_trainee
from training.vae.validation import means, measure, read_validation_set, write_side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def settings(pictures: Path) -> ValidationConfig:
    return ValidationConfig(folders=(str(pictures / "held_out"),), pictures=2, size=32)


def test_the_first_pictures_are_cut_to_multiples(settings: ValidationConfig) -> None:
    found = read_validation_set(settings, multiple=8)
    assert [held.path.name for held in found] == ["00.png", "01.png"]
    assert [tuple(held.image.shape) for held in found] == [(1, 3, 32, 32)] * 2


def test_unreadable_and_tiny_pictures_are_passed_over_and_reported(
    pictures: Path, settings: ValidationConfig, caplog: pytest.LogCaptureFixture
) -> None:
    (pictures / "held_out" / "00.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 3)).save(pictures / "held_out" / "00_tiny.png")
    found = read_validation_set(settings, multiple=8)
    assert [held.path.name for held in found] == ["01.png", "02.png"]
    first, second = (record.getMessage() for record in caplog.records)
    assert "validation passes over" in first and "00.png is not a picture" in first
    assert "00_tiny.png: The picture is" in second


def test_numbers_are_those_of_the_rebuilt_pictures(
    make_config: Any, settings: ValidationConfig
) -> None:
    trainee = build_trainee(make_config().model, base_target=False)
    found = read_validation_set(settings, trainee.crop_multiple)
    first, second = measure(trainee, found, CPU).numbers
    assert set(first) == {"psnr", "ssim", "kl", "alignment", "base_psnr"}
    image = found[0].image
    made = trainee.evaluate(image).reconstruction.detach()
    assert first["psnr"] == pytest.approx(float(psnr(made, image)[0]))
    assert measure(trainee, found, CPU).numbers == [first, second]
    assert means([first, second])["ssim"] == pytest.approx((first["ssim"] + second["ssim"]) / 2)


def test_the_control_arm_has_no_alignment_and_no_kl(
    make_config: Any, settings: ValidationConfig
) -> None:
    trainee = build_trainee(make_config(model__detail="zero").model, base_target=False)
    found = read_validation_set(settings, trainee.crop_multiple)
    assert set(measure(trainee, found, CPU).numbers[0]) == {"psnr", "ssim", "base_psnr"}


def test_side_by_side_shows_original_base_result_and_difference(
    make_config: Any, settings: ValidationConfig, tmp_path: Path
) -> None:
    trainee = build_trainee(make_config().model, base_target=False)
    found = read_validation_set(settings, trainee.crop_multiple)
    write_side_by_side(trainee, found[:1], CPU, tmp_path / "shown")
    (path,) = (tmp_path / "shown").iterdir()
    row = read_image(path)
    assert path.name == "00_00.png"
    assert row.shape == (1, 3, 32, 4 * 32)
    torch.testing.assert_close(row[..., :32], found[0].image, atol=1e-2, rtol=0)


def test_what_was_measured_is_shown_without_being_rebuilt_and_in_the_same_bytes(
    make_config: Any, settings: ValidationConfig, tmp_path: Path
) -> None:
    trainee = build_trainee(make_config().model, base_target=False)
    found = read_validation_set(settings, trainee.crop_multiple)
    write_side_by_side(trainee, found, CPU, tmp_path / "alone")
    rows = measure(trainee, found, CPU, shown=[found[0].path]).rows
    assert set(rows) == {found[0].path}
    rebuilt: list[int] = []
    conv_in = trainee.get_submodule("codec.encoder.conv_in")
    conv_in.register_forward_hook(lambda module, given, made: rebuilt.append(given[0].shape[-1]))
    write_side_by_side(trainee, found[:1], CPU, tmp_path / "measured", rows)
    assert not rebuilt
    write_side_by_side(trainee, found, CPU, tmp_path / "measured", rows)
    # The second was not among those that were shown: it is rebuilt, at both sizes.
    assert sorted(rebuilt) == [16, 32]
    alone, measured = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("alone", "measured")
    )
    assert alone == measured and len(alone) == 2


def test_a_codec_that_diverged_has_no_picture_and_a_warning(
    make_config: Any, settings: ValidationConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainee = build_trainee(make_config().model, base_target=False)
    with torch.no_grad():
        trainee.last_layer.fill_(float("nan"))
    found = read_validation_set(settings, trainee.crop_multiple)
    write_side_by_side(trainee, found[:1], CPU, tmp_path / "shown")
    assert not list((tmp_path / "shown").iterdir())
    assert "00.png: the codec's is not finite" in caplog.text


def test_the_folder_of_a_step_has_its_name_when_all_pictures_are_in_it(
    make_config: Any, settings: ValidationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = build_trainee(make_config().model, base_target=False)
    found = read_validation_set(settings, trainee.crop_multiple)
    folder = tmp_path / "drawn" / "step_00000001"
    written: list[Path] = []

    def stop_at_the_second(path: Path, image: torch.Tensor) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError("the disk is full")
        write_image(path, image)

    with monkeypatch.context() as failing, pytest.raises(OSError, match="full"):
        failing.setattr("training.vae.validation.write_image", stop_at_the_second)
        write_side_by_side(trainee, found, CPU, folder)
    assert len(written) == 2 and not list(folder.parent.iterdir())
    write_side_by_side(trainee, found, CPU, folder)
    assert len(list(folder.iterdir())) == 2 and list(folder.parent.iterdir()) == [folder]
