"""The folder a test server works in: the pack, models good and bad, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from davae_core import PRESETS, DetailAlignedVAE, KLAutoencoder, mini
from davae_core.codec.files import load_base_vae, save_base_vae, save_codec
from davae_core.codec.packing_fit import pack

from .server import PACK, ROOT
from .tiny_models import write_transformers

TRUNCATED = "truncated.safetensors"
EMPTY = "empty.safetensors"
TEXT = "text.safetensors"
FOREIGN = "foreign.safetensors"
MISLABELLED = "mislabelled.safetensors"
PICKLE = "pickle.pt"
DISGUISED_PICKLE = "disguised_pickle.safetensors"
SD1 = "sd1_vae_named_sd3.safetensors"
BASE = "davae_base.safetensors"
RANDOM = "davae_random.safetensors"
COMPACT = "davae_compact.safetensors"
PACKED = "davae_packed.safetensors"
OTHER_LAYOUT = "davae_other_layout.safetensors"


def make_base_directory(base: Path) -> None:
    """Fill `base` with what the server and its tests need."""
    for folder in (
        "vae",
        "loras",
        "diffusion_models",
        "checkpoints",
        "vae_approx",
        "text_encoders",
    ):
        (base / "models" / folder).mkdir(parents=True)
    for folder in ("input", "output"):
        (base / folder).mkdir()
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
    write_codecs(base / "models" / "vae")
    write_bad_files(base / "models" / "vae")
    shutil.copy(base / "models/vae" / RANDOM, base / "models/loras" / "misplaced.safetensors")
    write_transformers(base / "models")


def write_codecs(folder: Path) -> None:
    """A codec with random weights and statistics, whole and compact, one of 4 + 12 channels, and a plain base VAE.

    And the bundled miniature's base VAE, packed.
    """
    torch.manual_seed(0)
    codec = DetailAlignedVAE(PRESETS["mini"])
    codec.set_detail_statistics(torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16))
    save_codec(folder / RANDOM, codec)
    save_codec(folder / COMPACT, codec, compact=True)
    base = KLAutoencoder(PRESETS["mini"].backbone, PRESETS["mini"].layout.base_channels)
    save_base_vae(folder / BASE, base, shift=0.1, scale=1.2)
    layout = replace(PRESETS["mini"].layout, base_channels=4, detail_channels=12)
    save_codec(folder / OTHER_LAYOUT, DetailAlignedVAE(replace(PRESETS["mini"], layout=layout)))
    bundled = load_base_vae(mini.davae_path())
    bundled.vae.float()
    save_codec(folder / PACKED, pack(bundled, [torch.rand(1, 3, 384, 384) * 2 - 1]))


def write_bad_files(folder: Path) -> None:
    """Files that are not what they seem; RANDOM must already be there."""
    whole = (folder / RANDOM).read_bytes()
    (folder / TRUNCATED).write_bytes(whole[: len(whole) // 2])
    (folder / EMPTY).write_bytes(b"")
    (folder / TEXT).write_text("Not Found")
    save_file({"something.weight": torch.zeros(2, 2)}, folder / FOREIGN)
    save_codec(folder / MISLABELLED, DetailAlignedVAE(PRESETS["mini"]))
    put_other_weights_in(folder / MISLABELLED)
    torch.save({"weight": torch.zeros(1)}, folder / PICKLE)
    shutil.copy(folder / PICKLE, folder / DISGUISED_PICKLE)
    with torch.device("meta"):
        backbone = replace(PRESETS["sd3"].backbone, quant_conv=True)
        sd1 = KLAutoencoder(backbone, latent_channels=4).state_dict()
    zeros = {name: torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in sd1.items()}
    save_file(zeros, folder / SD1)


def put_other_weights_in(path: Path) -> None:
    """Keep a codec file's metadata and put other weights under it."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({"joint_blocks.0.weight": torch.zeros(4)}, path, metadata)
