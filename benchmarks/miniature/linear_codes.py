"""The linear anchor: the best code of a given size that no network is needed for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from davae_core.images import image_from_pil
from training.mini import photographs

_PATCHES = "b c (h i) (w j) -> b h w (c i j)"
_PICTURE = "b h w (c i j) -> b c (h i) (w j)"


@dataclass(frozen=True)
class LinearCode:
    """Principal components of square patches: ``components`` numbers for each ``factor x factor`` patch.

    ``mean`` is ``[3 * factor**2]``, ``basis`` is ``[3 * factor**2, components]`` with orthonormal columns.
    """

    factor: int
    mean: Tensor
    basis: Tensor

    def reconstruct(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [-1, 1] through the code and back, clamped; sides are multiples of the factor."""
        patches = rearrange(images.double(), _PATCHES, i=self.factor, j=self.factor) - self.mean
        rebuilt = (patches @ self.basis) @ self.basis.T + self.mean
        whole = rearrange(rebuilt, _PICTURE, i=self.factor, j=self.factor)
        return whole.clamp(-1, 1).to(images.dtype)


def fit_linear_code(images: Iterable[Tensor], factor: int, components: int) -> LinearCode:
    """Fit a code to the aligned patches of pictures ``[1, 3, H, W]``, exactly (float64 eigenvectors).

    Raises:
        ValueError: when there is no picture, or a patch has fewer numbers than the code.
    """
    size = 3 * factor**2
    if components > size:
        raise ValueError(
            f"A patch of {factor}x{factor} has {size} numbers, so a code of {components} is no code."
        )
    moment, total, count = torch.zeros(size, size).double(), torch.zeros(size).double(), 0
    for image in images:
        height, width = (side // factor * factor for side in image.shape[-2:])
        patches = rearrange(image[..., :height, :width].double(), _PATCHES, i=factor, j=factor)
        flat = rearrange(patches, "b h w n -> (b h w) n")
        moment += flat.T @ flat
        total += flat.sum(dim=0)
        count += len(flat)
    if not count:
        raise ValueError("There is nothing to fit a linear code to: give at least one picture.")
    mean = total / count
    _, vectors = torch.linalg.eigh(moment / count - torch.outer(mean, mean))
    return LinearCode(factor, mean, vectors[:, -components:])


def fit_on_training_photographs(factor: int, components: int) -> LinearCode:
    """The anchor of the report: fitted to the training photographs, never to a held-out one."""
    pictures = (image_from_pil(photographs.load(photo)) for photo in photographs.TRAINING)
    return fit_linear_code(pictures, factor, components)
