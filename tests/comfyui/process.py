"""Running a script inside ComfyUI's own process: by ComfyUI's Python, in ComfyUI's folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .server import ROOT, comfyui_python, comfyui_tree, environment


def answers_of_process(script: str, *arguments: Path, answers: Path) -> Any:
    """Run `tests/comfyui/<script> ROOT *arguments answers` and return the JSON it wrote to `answers`."""
    path = ROOT / "tests" / "comfyui" / script
    done = subprocess.run(
        [comfyui_python(), path, ROOT, *arguments, answers],
        cwd=comfyui_tree(),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answers.read_text())


def answers_of(*experiments: str) -> pytest.MarkDecorator:
    """Give a test the answers of these experiments, one after the other, as its fixture `found`."""
    return pytest.mark.parametrize("found", experiments, indirect=True)
