from itertools import pairwise

import pytest

from training.engine.learning_rate import cosine_factor


def test_the_rate_warms_up_linearly_then_falls_on_a_half_cosine() -> None:
    factors = [cosine_factor(step, 100, 4, 0.1) for step in range(101)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[52] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(factors[4:]))


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert cosine_factor(0, 10, 0, 0.0) == 1.0


def test_past_the_end_the_rate_stays_at_its_floor() -> None:
    assert cosine_factor(500, 100, 0, 0.25) == pytest.approx(0.25)
