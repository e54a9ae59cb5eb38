"""What every script that runs inside ComfyUI's own process does first: become ComfyUI on a CPU, import the pack."""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Experiment = Callable[[], dict[str, Any]]


def start(pack: Path, name: str = "davae_pack") -> None:
    """Prepare ComfyUI as its main.py does, in ComfyUI's folder, and import the pack under that name."""
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, os.getcwd())
    importlib.import_module("comfy.options").enable_args_parsing()
    spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def part(name: str, pack: str = "davae_pack") -> ModuleType:
    """A module of the pack, such as `nodes.compat.model`."""
    return importlib.import_module(f"{pack}.{name}")


def largest(difference: torch.Tensor) -> float:
    """The largest absolute value."""
    return float(difference.abs().max())


def write_answers(path: Path, experiments: tuple[Experiment, ...]) -> None:
    """Run every experiment and write their answers as JSON by name; one that raises gives {"failed": what}."""
    answers: dict[str, Any] = {}
    for experiment in experiments:
        try:
            # ComfyUI runs nodes under inference mode.
            with torch.inference_mode():
                answers[experiment.__name__] = experiment()
        except Exception as error:  # noqa: BLE001 - one failure must not hide the other answers
            answers[experiment.__name__] = {"failed": f"{type(error).__name__}: {error}"}
    path.write_text(json.dumps(answers, indent=1))
