import os
from pathlib import Path

import pytest

from tests.training.two_processes import on_two_processes
from training.engine.processes import as_main_finds, make_accelerator
from training.errors import TrainingError


def test_a_launch_with_deepspeed_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(TrainingError, match=r"asks for DeepSpeed.*launch with configs/accelerate"):
        make_accelerator("cpu", "fp32")


def note_what_main_finds(folder: Path) -> None:
    accelerator, rank = make_accelerator("cpu", "fp32"), os.environ["RANK"]

    def refuse() -> str:
        raise TrainingError(f"Refused by {rank}.")

    found = as_main_finds(accelerator, lambda: f"found by {rank}")
    try:
        as_main_finds(accelerator, refuse)
    except TrainingError as error:
        found += f", {error}"
    (folder / rank).write_text(found)


def test_every_process_gets_what_the_main_one_finds_and_its_refusals(tmp_path: Path) -> None:
    on_two_processes(note_what_main_finds, tmp_path)
    for rank in "01":
        assert (tmp_path / rank).read_text() == "found by 0, Refused by 0."
