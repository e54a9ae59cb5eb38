"""Write workflows/, workflows/api/ and subgraphs/: `python -m scripts.workflows [FOLDER]`."""

import json
import sys
from pathlib import Path
from typing import Any

from .blueprints import BLUEPRINTS, blueprint_format
from .graph import Workflow
from .miniature import MINIATURE
from .sd35 import sd35
from .write import api_format, browser_format

FOLDER = Path(__file__).parents[2]


def workflows() -> tuple[Workflow, ...]:
    """All of the pack's."""
    return (*(make() for make in MINIATURE), *sd35())


def main(folder: Path = FOLDER) -> None:
    """Write every workflow in both formats, and the blueprints."""
    for workflow in workflows():
        _write(folder / "workflows" / f"{workflow.name}.json", browser_format(workflow))
        if workflow.app is None:  # an app is another look at a graph that is there already
            called = folder / "workflows" / "api" / f"{workflow.prefix}.json"
            _write(called, api_format(workflow))
    for make in BLUEPRINTS:
        blueprint = make()
        _write(folder / "subgraphs" / f"{blueprint.inside.name}.json", blueprint_format(blueprint))


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
