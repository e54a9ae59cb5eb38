"""Write the requirements that pyproject.toml declares, one per line: `python scripts/requirements.py demo train`.

The project itself must not be installed where ComfyUI runs the tests: an installed davae_core would hide a pack that
does not import its own copy. pip can install a project's extras only together with the project, hence this script.
"""

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10 has no TOML reader of its own, but its pip does
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The project's dependencies and those of `extras`; raises KeyError for an unknown extra."""
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


if __name__ == "__main__":
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(requirements(declared, sys.argv[1:])) + "\n")
