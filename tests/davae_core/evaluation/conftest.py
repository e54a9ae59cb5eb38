"""The networks that scores need, in their libraries' formats, with random weights; and pictures to judge."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from davae_core.evaluation.inception import LAYERS
from tests.davae_core.test_pipeline import tokenizer


class Untrained(FeatureExtractorInceptionV3):
    """torch-fidelity's Inception as it is built, before it reads its weights."""

    def load_state_dict(self, state_dict):
        assert state_dict == {}


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torch-fidelity publishes it, of random weights."""
    torch.manual_seed(0)
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    network = Untrained("inception-v3-compat", LAYERS, feature_extractor_weights_path=nothing)
    for name, parameter in network.named_parameters():
        # As PyTorch starts them, a picture fades away on its way through the layers.
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(parameter)
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, as transformers saves it; it knows single letters."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    layers = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2}
    layers["num_attention_heads"] = 4
    words = {"vocab_size": 54, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    text = {**layers, **words, "max_position_embeddings": 12}
    vision = {**layers, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(CLIPImageProcessor(**sizes), tokenizer(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lpips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's SqueezeNet with random weights, the smallest backbone of LPIPS."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lpips") / "squeezenet.safetensors"
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


def write_pictures(folder: Path, count: int, seed: int = 0, side: int = 64) -> Path:
    """Smooth random pictures in colour."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02d}.png")
    return folder


def changed(folder: Path, to: Path, amount: float) -> Path:
    """The pictures with noise of that deviation, of 255, and blurred by as many hundredths of a pixel."""
    to.mkdir(parents=True)
    random = np.random.default_rng(1)
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Image.open(path).filter(ImageFilter.GaussianBlur(amount / 100)))
        noisy = pixels + random.normal(0, amount, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(to / path.name)
    return to
