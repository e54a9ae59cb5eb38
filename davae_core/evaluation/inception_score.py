"""The Inception score: how sure the network is of each picture's class, and how many classes there are in all."""

from __future__ import annotations

from torch import Tensor

SPLITS = 10
"""Parts whose scores are averaged, as in the paper; fewer pictures have no score."""


def inception_score(logits: Tensor) -> float:
    """IS (Salimans et al. 2016) of logits [N, K], N at least SPLITS: 1 for pictures all alike, K at most.

    As torch-fidelity computes it: the mean over SPLITS parts of pictures in an order that is the same every time.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    return float(isc_features_to_metric(logits, splits=SPLITS)[KEY_METRIC_ISC_MEAN])
