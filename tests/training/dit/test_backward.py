"""One step of stage 2, however its samples are parted."""

import pytest

from tests.training.dit_fixtures import write_cache
from training.dit.noising import NoisedBatches
from training.dit.train import DitTraining


def test_two_micro_batches_make_the_step_of_one_twice_as_large(dit_config, davae, tmp_path):
    cache = str(write_cache(tmp_path / "even", davae, True, [(4, 4)] * 4))
    changes = {"data__caches": [cache], "validation__cache": None, "loss__weighting": "published"}
    whole = DitTraining(dit_config("whole", train__batch_size=4, **changes))
    parted = DitTraining(dit_config("parted", train__accumulate=2, **changes))
    config = whole.config
    noised = NoisedBatches(whole.data, config.train.seed, config.train.mode, config.loss)
    halves = [noised[0, slice(first, first + 2)] for first in (0, 2)]
    for step in (2, 3):
        found = parted.updates.step(step, halves, parted.backward)
        expected = whole.updates.step(step, [noised[0, slice(None)]], whole.backward)
        assert expected["gradient_norm"] > 0.1 and expected["detail"] > 0.1
        assert found.keys() == expected.keys()
        for name, term in expected.items():
            assert float(found[name]) == pytest.approx(float(term), rel=1e-4), name
