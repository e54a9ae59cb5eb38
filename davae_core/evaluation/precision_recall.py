"""Precision and recall: the share of drawn pictures that could be real, and of real ones that could be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

NEIGHBOURS = 3
"""A picture's ball reaches to its third neighbour, as in the paper and in ADM's evaluation suite."""
LEAST = NEIGHBOURS + 1
"""Pictures of a set, below which its balls do not exist."""
_ROWS = 2000
"""Pictures whose distances to all others are held at a time: 400 MB where the others are 50 000."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares from 0 to 1."""

    precision: float
    recall: float


def precision_recall(features: Tensor, real: Tensor) -> PrecisionRecall:
    """Of features [N, D] of drawn and [M, D] of real pictures, N and M at least LEAST (Kynkaanniemi et al. 2019).

    As torch-fidelity computes them, of whatever features they are given; the published tables of ImageNet are of
    Inception's, which davae takes too.
    """
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    found = prc_features_to_metric(
        features,
        real,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    return PrecisionRecall(found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL])
