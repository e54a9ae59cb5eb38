"""Which arms stand in one table, and which of them the others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from .arms import (
    DETAIL,
    DETAIL_ARMS,
    DETAIL_LOSS_ARMS,
    DETAIL_PACKED_ARMS,
    FULL,
    JOINT_ARMS,
    LIGHT_ARMS,
    LOSS_ARMS,
    PACKED_ARMS,
    REFERENCES,
    Arm,
    light,
)


@dataclass(frozen=True)
class Group:
    """Arms that stand in one table; `reference` is the one that the others are compared with, seed by seed."""

    name: str
    title: str
    reference: str
    arms: tuple[str, ...]


def _group(name: str, title: str, reference: str, arms: tuple[Arm, ...]) -> Group:
    names = tuple(arm.name for arm in arms)
    return Group(name, title, reference, (reference, *(n for n in names if n != reference)))


GROUPS = (
    Group(
        "ways",
        "Ways to draw",
        FULL,
        (FULL, DETAIL, "detail_own_levels", *(found.name for found in REFERENCES)),
    ),
    _group(
        "joint", "Base and detail together, at the strong rate", FULL, (*JOINT_ARMS, *LOSS_ARMS)
    ),
    _group("light", "Base and detail together, at the light rate", light(FULL), LIGHT_ARMS),
    _group("detail_alone", "The detail alone", DETAIL, (*DETAIL_ARMS, *DETAIL_LOSS_ARMS)),
    _group("channels", "Channels, base and detail together", FULL, PACKED_ARMS),
    _group("detail_channels", "Channels, the detail alone", DETAIL, DETAIL_PACKED_ARMS),
)
