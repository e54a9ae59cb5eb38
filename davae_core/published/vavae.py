"""VA-VAE's published file (Yao et al. 2025, arXiv 2501.01423), the pretrained VAE of the paper's ImageNet codec."""

from pathlib import Path

import torch
from torch import Tensor

from ..codec.autoencoder import KLAutoencoder
from ..codec.files import VAE_PARTS, BaseVae
from ..codec.stock_vae import kl_config_of
from ..files import CheckpointError, reason_of
from ..format import check_weights
from ..latents import LatentLayout
from ..reading.plain_text import plain
from .pickles import read_plain_weights

SUFFIXES = (".pt", ".ckpt", ".pth")
_WANTED = "VA-VAE's published file, such as vavae-imagenet256-f16d32-dinov2.pt"


def load_vavae(path: str | Path) -> BaseVae:
    """The VAE in a pickle of LDM names, alone or under `state_dict`; its latents are used as they are.

    Read with weights_only. What VA-VAE's training left beside it (its losses, the vision model it was aligned to) is
    left out. Raises CheckpointError when there is no whole VAE in it.
    """
    path = Path(path)
    loaded = read_plain_weights(path, _WANTED)
    inner = loaded.get("state_dict", loaded)
    weights = {
        str(name): tensor
        for name, tensor in (inner if isinstance(inner, dict) else loaded).items()
        if isinstance(tensor, Tensor) and str(name).split(".")[0] in VAE_PARTS
    }
    check_weights(path, weights)
    try:
        backbone = kl_config_of(weights)
        channels = weights["encoder.conv_out.weight"].shape[0] // 2
        with torch.device("meta"):
            vae = KLAutoencoder(backbone, channels)
        vae.load_state_dict(weights, assign=True)
        layout = LatentLayout(channels, 0, backbone.factor, 1, 0.0, 1.0)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        reason = plain(reason_of(error).strip().split("\n")[-1].strip())
        raise CheckpointError(f"{path} holds no whole VAE ({reason}): give {_WANTED}.") from error
    return BaseVae(vae.eval(), layout)
