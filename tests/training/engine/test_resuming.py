from typing import Any

import pytest

from training.engine.checkpointing import RunState
from training.engine.resuming import check_resumable
from training.errors import TrainingError
from training.settings.yaml_config import flatten


def state_of(config: Any) -> RunState:
    return RunState(step=7, samples_per_step=2, config=flatten(config))


def test_the_same_configuration_goes_on(make_config: Any) -> None:
    check_resumable(state_of(make_config()), flatten(make_config()), 2, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"output__log_every": 5},
        {"validation__every": 9},
        {"data__cache_mb": 5},
        {"train__gradient_checkpointing": True},
    ],
)
def test_settings_that_do_not_shape_the_training_may_change(
    make_config: Any, changes: dict[str, Any]
) -> None:
    check_resumable(state_of(make_config()), flatten(make_config(**changes)), 2, "")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"loss__l1": 2.0}, "loss.l1"),
        ({"train__seed": 6}, "train.seed"),
        ({"train__steps": 60}, "train.steps"),
        ({"data__scale": [0.5, 1.0]}, "data.scale"),
        ({"model__trunk": "trained"}, "model.trunk"),
    ],
)
def test_a_changed_setting_is_named(make_config: Any, changes: dict[str, Any], name: str) -> None:
    with pytest.raises(TrainingError, match=f"{name} is .*step 7 was trained with"):
        check_resumable(state_of(make_config()), flatten(make_config(**changes)), 2, "")


def test_another_number_of_samples_per_step_is_refused(make_config: Any) -> None:
    words = (
        r"takes 4 samples per step, .*with 2: let train\.batch_size times train\.accumulate times"
    )
    with pytest.raises(TrainingError, match=words):
        check_resumable(state_of(make_config()), flatten(make_config()), 4, "")


def test_only_the_product_of_what_makes_a_step_counts(make_config: Any) -> None:
    halved = flatten(make_config(train__batch_size=1, train__accumulate=2))
    check_resumable(state_of(make_config()), halved, 2, "")


def test_a_run_of_a_constant_rate_may_be_prolonged_and_shortened(make_config: Any) -> None:
    constant = {"optimizer__final_ratio": 1.0}
    state = state_of(make_config(train__steps=20, **constant))
    for steps in (7, 60):
        check_resumable(state, flatten(make_config(train__steps=steps, **constant)), 2, "")
    with pytest.raises(TrainingError, match=r"train\.steps is 6, .* of step 7 already: raise it"):
        check_resumable(state, flatten(make_config(train__steps=6, **constant)), 2, "")


def test_a_run_whose_rate_would_jump_is_not_prolonged(make_config: Any) -> None:
    state = state_of(make_config(train__steps=14))
    words = r"under optimizer\.final_ratio 0\.1 the learning rate would jump from 0\.55 to 0\.97 of"
    with pytest.raises(TrainingError, match=words):
        check_resumable(state, flatten(make_config(train__steps=60)), 2, "")


def test_a_run_in_its_warm_up_may_be_prolonged(make_config: Any) -> None:
    slow = {"optimizer__warmup_steps": 8}
    state = state_of(make_config(train__steps=14, **slow))
    check_resumable(state, flatten(make_config(train__steps=60, **slow)), 2, "")


def test_a_checkpoint_from_before_a_setting_goes_on_as_it_was_trained(make_config: Any) -> None:
    state, config = state_of(make_config()), flatten(make_config())
    assert "train.mode" not in state.config
    check_resumable(state, {**config, "train.mode": "joint", "loss.base_noise": 0.0}, 2, "")
    with pytest.raises(TrainingError, match=r"train\.mode is 'detail', but .*with 'joint'"):
        check_resumable(state, {**config, "train.mode": "detail"}, 2, "")
    with pytest.raises(TrainingError, match=r"model\.start_from is 'a', but .*with None"):
        check_resumable(state, {**config, "model.start_from": "a"}, 2, "")
