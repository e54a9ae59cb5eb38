"""The Frechet distance between two sets of features, each taken as a Gaussian (Heusel et al. 2017, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean [D] and covariance [D, D] of features, in float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Of features [N, D], N > 1."""
    return Moments(features.double().mean(dim=0), torch.cov(features.double().T))


def standardised(features: Tensor, real: Tensor) -> Tensor:
    """Features [N, D] in units of the real features' spread, so that every one of them counts alike."""
    return (features - real.mean(dim=0)) / real.std(dim=0)


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)); 0 for equal moments."""
    root = _square_root(first.covariance)
    # S1 S2 has the eigenvalues of this symmetric matrix, whose root is safe to take.
    mixed = torch.linalg.eigvalsh(root @ second.covariance @ root).clamp(min=0).sqrt().sum()
    spread = first.covariance.trace() + second.covariance.trace() - 2 * mixed
    return float((first.mean - second.mean).square().sum() + spread)


def _square_root(matrix: Tensor) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues but those of rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
