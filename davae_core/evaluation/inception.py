"""What Inception sees in pictures, for FID, KID, precision, recall and IS: torch-fidelity's network, from a local file.

It is the network of the original FID (Heusel et al. 2017), and its way of bringing pictures to 299 pixels too, so that
the numbers are those of other papers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors
from ..published.pickles import read_plain_weights
from .pictures import PictureSet

if TYPE_CHECKING:
    from torch import nn

FILE = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
LAYERS = ["2048", "logits_unbiased"]
"""torch-fidelity's names of the features after the last pooling, and of the classes' logits without their biases."""
_BATCH = 16


@dataclass(frozen=True)
class Seen:
    """Inception's features [N, 2048] and logits [N, 1008] of N pictures, float32 on the CPU."""

    features: Tensor
    logits: Tensor


def load_inception(path: Path, device: str) -> nn.Module:
    """The network with the weights of torch-fidelity's file at `path`, a .pth or the same as safetensors.

    Raises CheckpointError when it is not there or holds anything else, ImportError without torch-fidelity.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist, but FID, KID and IS need Inception's weights: download {SOURCE} and name it with "
            "--inception."
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            "FID, KID and IS need the package torch-fidelity, which is not installed: run `pip install davae[train]`, "
            "or leave --inception out."
        ) from error
    wanted = f"torch-fidelity's own {FILE} from {SOURCE}"
    safe = path.suffix == ".safetensors"
    weights = read_safetensors(path)[0] if safe else read_plain_weights(path, wanted)
    # torch-fidelity unpickles whatever file it is given: it gets the checked tensors, written anew in memory.
    packed = io.BytesIO()
    torch.save(weights, packed)
    packed.seek(0)
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", LAYERS, feature_extractor_weights_path=packed
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not hold Inception's weights as torch-fidelity names them: give {wanted}."
        ) from error
    return cast("nn.Module", network.to(device))


@torch.inference_mode()
def see(network: nn.Module, pictures: PictureSet, names: Iterable[str], device: str) -> Seen:
    """What the network sees in the pictures. Raises ImageError."""
    features, logits = [], []
    for batch in pictures.batches(names, _BATCH):
        found = network(batch.to(device))
        features.append(found[0].float().cpu())
        logits.append(found[1].float().cpu())
    return Seen(torch.cat(features), torch.cat(logits))
