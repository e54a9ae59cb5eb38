"""How far two sets of Inception features are apart: FID and KID, as torch-fidelity computes them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LEAST = 2
"""Pictures of a set, below which neither number exists."""
_SUBSETS, _SUBSET = 100, 1000


@dataclass(frozen=True)
class KernelDistance:
    """KID's mean over random subsets, and its deviation."""

    mean: float
    std: float


def frechet_distance(features: Tensor, real: Tensor) -> float:
    """FID (Heusel et al. 2017) of features [N, D] and [M, D], N and M at least LEAST; 0 for equal sets."""
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    first, second = (fid_features_to_statistics(part.double()) for part in (features, real))
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def kernel_distance(features: Tensor, real: Tensor) -> KernelDistance:
    """KID (Binkowski et al. 2018) of features [N, D] and [M, D], N and M at least LEAST.

    The unbiased estimate over 100 random subsets of 1000 pictures, or of all where there are fewer; the subsets are the
    same every time.
    """
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    found = kid_features_to_metric(
        features.double(),
        real.double(),
        kid_subsets=_SUBSETS,
        kid_subset_size=min(_SUBSET, len(features), len(real)),
        verbose=False,
    )
    return KernelDistance(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])
