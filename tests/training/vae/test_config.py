from typing import Any

import pytest

from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model__base_vae": None}, "model.base_vae is missing"),
        ({"model__detail": "zero", "model__trunk": "trained"}, "model.trunk is trained while"),
        ({"model__init": "packed", "model__detail": "zero"}, "model.init is packed, which"),
        ({"model__init": "packed", "model__kind": "base_vae"}, "model.init is packed, which"),
        ({"model__detail_dropout": 1.0}, "model.detail_dropout is 1.0"),
        ({"data__train": []}, "data.train is missing"),
        ({"data__shares": [1.0, 2.0]}, "data.shares has 2 numbers for 1 folders"),
        ({"data__scale": [1.0]}, "data.scale is [1.0]"),
        ({"data__scale": [1.0, 0.5]}, "data.scale is [1.0, 0.5]"),
        ({"data__window": "fraction", "data__scale": [0.5, 2]}, "data.scale reaches 2.0"),
        ({"data__cache_mb": 10, "data__workers": 2}, "data.cache_mb and data.workers"),
        ({"optimizer__betas": [0.9]}, "optimizer.betas has 1 numbers"),
        ({"optimizer__ema": 1.0}, "optimizer.ema is 1.0"),
        ({"train__steps": 0}, "train.steps is 0"),
        ({"output__folder": ""}, "output.folder is missing"),
        ({"output__keep": 0}, "output.keep is 0"),
        ({"train__compile": True, "loss__gan__weight": 0.1}, "train.compile cannot be combined"),
        ({"train__precision": "fp16", "loss__gan__weight": 0.1}, "train.precision is fp16, whose"),
        ({"loss__l1": 0, "loss__mse": 0}, "nothing would be learned"),
        (
            {
                "model__kind": "base_vae",
                "model__base_vae": None,
                "loss__target": "base_reconstruction",
            },
            "loss.target is base_reconstruction",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(
    write_config: Any, changes: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(TrainingError) as error:
        read_config(VaeTrainingConfig, write_config(**changes))
    assert wanted in str(error.value)
    assert "config.yaml" in str(error.value)
