"""The fixed feature space of the Frechet distance: a random convolutional network, averaged over each picture.

Random networks tell distributions apart where ImageNet's features have no business, as with drawn scenes (Naeem et al.
2020, "Reliable Fidelity and Diversity Metrics for Generative Models", section 4). Nothing in it was trained, so nothing
that was trained is judged by its like.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (32, 64, 96, 128)
_KERNEL, _SLOPE, _SEED = 4, 0.1, 0


class RandomFeatures:
    """Pictures [B, 3, H, W] in [-1, 1] -> [B, 320]: the channel means of four stages, each half as large as the last.

    Kernels are 4 pixels wide with stride 2; the filters of every stage but the first are blind to a constant, so that
    brightness is seen once and edges, grain and their arrangement at four scales make up the rest. Weights come from
    NumPy's frozen legacy generator and are the same everywhere.
    """

    def __init__(self) -> None:
        random = np.random.RandomState(_SEED)
        self.weights: list[Tensor] = []
        channels = 3
        for stage, width in enumerate(WIDTHS):
            drawn = random.standard_normal((width, channels, _KERNEL, _KERNEL))
            if stage:
                drawn -= drawn.mean(axis=(2, 3), keepdims=True)
            drawn *= np.sqrt(2.0 / (channels * _KERNEL * _KERNEL))
            self.weights.append(torch.from_numpy(drawn.astype(np.float32)))
            channels = width

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """The features, in float64."""
        stages, found = pictures.float(), []
        for weight in self.weights:
            stages = F.leaky_relu(F.conv2d(stages, weight, stride=2), _SLOPE)
            found.append(stages.double().mean(dim=(2, 3)))
        return torch.cat(found, dim=1)
