from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from davae_core.files import CheckpointError
from training.errors import TrainingError
from training.vae.config import PerceptualConfig
from training.vae.perceptual import build_perceptual

CPU = torch.device("cpu")


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    """torchvision's SqueezeNet with random weights, as its file names them."""
    torch.manual_seed(0)
    path = tmp_path / "squeezenet.safetensors"
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


def lpips(path: Path | None, net: str = "squeeze") -> PerceptualConfig:
    weights = None if path is None else str(path)
    return PerceptualConfig(kind="lpips", net=net, weights=weights)  # type: ignore[arg-type]


def test_none_builds_nothing() -> None:
    assert build_perceptual(PerceptualConfig(kind="none"), CPU) is None


def test_the_distance_is_zero_for_equal_pictures_and_has_gradients(backbone_file: Path) -> None:
    distance = build_perceptual(lpips(backbone_file), CPU)
    assert distance is not None
    torch.manual_seed(0)
    first, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64, requires_grad=True)
    assert float(distance(first, first).abs().max()) == 0.0
    distance(first, second).mean().backward()
    assert second.grad is not None
    assert float(second.grad.abs().sum()) > 0.0


def test_the_backbone_holds_the_weights_of_the_file(backbone_file: Path) -> None:
    torch.manual_seed(1)
    images = torch.rand(1, 3, 64, 64)
    distances = [build_perceptual(lpips(backbone_file), CPU) for _ in range(2)]
    first, second = (distance(images, 1 - images) for distance in distances if distance is not None)
    assert torch.equal(first, second)


def test_a_pickle_of_weights_is_read_without_running_it(
    tmp_path: Path, backbone_file: Path
) -> None:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pth")
    assert build_perceptual(lpips(tmp_path / "w.pth"), CPU) is not None
    torch.save({"features": pytest.raises}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth cannot be read as plain weights"):
        build_perceptual(lpips(tmp_path / "evil.pth"), CPU)


def test_absent_weights_are_a_sentence_that_offers_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"nowhere\.pth, which are not there.*kind to none"):
        build_perceptual(lpips(tmp_path / "nowhere.pth"), CPU)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        TrainingError,
        match=r"not there: download https://\S+/vgg16-397923af\.pth",
    ):
        build_perceptual(lpips(None, net="vgg"), CPU)


def test_weights_of_another_net_are_refused(backbone_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not hold the backbone alex.*tensors missing"):
        build_perceptual(lpips(backbone_file, net="alex"), CPU)
