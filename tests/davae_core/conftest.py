"""The golden checkpoint as it was published, and small codecs to try things on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.codec.blocks import KLConfig
from davae_core.latents import LatentLayout

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "davae_expected.safetensors")


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    """The published state dict with both VAEs in it."""
    trained = load_file(GOLDEN / "davae_without_base.safetensors")
    base = load_file(GOLDEN / "base_vae" / "diffusion_pytorch_model.safetensors")
    return trained | {f"original_vae_model.vae.{name}": tensor for name, tensor in base.items()}


@pytest.fixture
def published_file(tmp_path: Path, published: dict[str, torch.Tensor]) -> Path:
    """The published pickle with its statistics beside it."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(published, folder / "pytorch_model.bin")
    (folder / "latent_norm_stats.json").write_bytes(
        (GOLDEN / "latent_norm_stats.json").read_bytes()
    )
    return folder / "pytorch_model.bin"


@pytest.fixture
def tiny_config() -> CodecConfig:
    layout = LatentLayout(
        base_channels=4, detail_channels=12, base_factor=4, ratio=2, base_shift=0.1, base_scale=1.5
    )
    return CodecConfig(layout, KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4))


@pytest.fixture
def tiny_codec(tiny_config: CodecConfig) -> DetailAlignedVAE:
    torch.manual_seed(0)
    codec = DetailAlignedVAE(tiny_config).eval()
    codec.set_detail_statistics(torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12))
    return codec.requires_grad_(False)
