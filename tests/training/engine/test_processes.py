import pytest

from training.engine.processes import make_accelerator
from training.errors import TrainingError


def test_a_launch_with_deepspeed_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(TrainingError, match=r"asks for DeepSpeed.*launch with configs/accelerate"):
        make_accelerator("cpu", "fp32")
