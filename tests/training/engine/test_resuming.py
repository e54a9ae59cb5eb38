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


def test_another_number_of_processes_is_refused(make_config: Any) -> None:
    with pytest.raises(TrainingError, match="takes 4 samples per step"):
        check_resumable(state_of(make_config()), flatten(make_config()), 4, "")


def test_a_checkpoint_from_before_a_setting_goes_on_as_it_was_trained(make_config: Any) -> None:
    state, config = state_of(make_config()), flatten(make_config())
    assert "train.mode" not in state.config
    check_resumable(state, {**config, "train.mode": "joint", "loss.base_noise": 0.0}, 2, "")
    with pytest.raises(TrainingError, match=r"train\.mode is 'detail', but .*with 'joint'"):
        check_resumable(state, {**config, "train.mode": "detail"}, 2, "")
