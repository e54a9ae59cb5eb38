"""Which trained files a report compares: one small JSON file names them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


class ArmsError(ValueError):
    """A list of arms that cannot be used; the message is one sentence that says why."""


@dataclass(frozen=True)
class Arm:
    """One training of the codec.

    ``weight`` is that of the alignment loss, ``detail`` is ``zero`` for the control, ``steps`` is
    the length of the training (arms are comparable only at equal steps). ``choosing`` is its PSNR
    on the pictures for choosing settings, the only ones a choice may look at.
    """

    name: str
    file: Path
    trunk: str
    weight: float
    detail: str
    steps: int
    choosing: float


@dataclass(frozen=True)
class Arms:
    """The base VAE, all arms, and which of them answer which question.

    ``codec`` is the one that is shipped and ``control`` the same training with the detail at zero.
    ``aligned`` and ``unaligned`` differ in the alignment weight alone.
    """

    base: Path
    arms: dict[str, Arm]
    codec: str
    control: str | None
    aligned: str | None
    unaligned: str | None


def read_arms(path: Path) -> Arms:
    """Read the JSON file; paths in it are relative to it.

    It holds ``base``, ``codec``, optionally ``control``, ``aligned`` and ``unaligned`` (names), and
    ``arms``: name -> {file, trunk: frozen|trained, weight, detail: learned|zero, steps, choosing}.

    Raises:
        ArmsError: when the file is missing, is no such JSON, or names what it does not define.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArmsError(f"{path} cannot be read ({error.strerror}): check the name.") from error
    except ValueError as error:
        raise ArmsError(f"{path} is not JSON ({error}): correct it.") from error
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("arms"), dict)
        or "codec" not in found
    ):
        raise ArmsError(
            f"{path} needs the keys base, codec and arms: see read_arms in {Path(__file__).name}."
        )
    arms = {name: _arm(path, name, values) for name, values in found["arms"].items()}
    names = {key: found.get(key) for key in ("codec", "control", "aligned", "unaligned")}
    for key, name in names.items():
        if name is not None and name not in arms:
            raise ArmsError(
                f"{path} gives {name} as {key}, but has no arm of that name: add it or correct it."
            )
    return Arms(path.parent / str(found["base"]), arms, **names)


def _arm(path: Path, name: str, values: Any) -> Arm:
    wanted = {field.name for field in fields(Arm)} - {"name"}
    if not isinstance(values, dict) or set(values) != wanted:
        raise ArmsError(
            f"{path}: the arm {name} needs exactly the keys {', '.join(sorted(wanted))}."
        )
    if values["trunk"] not in ("frozen", "trained") or values["detail"] not in ("learned", "zero"):
        raise ArmsError(
            f"{path}: the arm {name} needs trunk frozen or trained, and detail learned or zero."
        )
    return Arm(
        name,
        path.parent / str(values["file"]),
        values["trunk"],
        float(values["weight"]),
        values["detail"],
        int(values["steps"]),
        float(values["choosing"]),
    )
