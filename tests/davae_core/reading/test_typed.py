import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from davae_core.reading.typed import Length, Limits, build, check_limits, picked


@dataclass(frozen=True)
class Part:
    width: Annotated[int, Limits(1, 8)]


@dataclass(frozen=True)
class Whole:
    part: Part
    name: str
    ratio: float
    on: bool
    kind: Literal["one", "other"] = "one"
    sizes: Annotated[tuple[Annotated[int, Limits(0)], ...], Length(3)] = ()
    note: str | None = None
    rest: dict[str, Any] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, float] = field(default_factory=dict)


GOOD = {"part": {"width": 8}, "name": "a", "ratio": 1, "on": True}


def test_values_reach_their_fields_by_type():
    more = {
        "sizes": [1, 2],
        "note": "b",
        "rest": {"x": [None]},
        "parts": [{"width": 1}],
        "by_name": {"y": 2},
    }
    found = build(Whole, {**GOOD, **more})
    assert found == Whole(
        Part(8), "a", 1.0, True, "one", (1, 2), "b", {"x": [None]}, [Part(1)], {"y": 2.0}
    )
    assert isinstance(found.ratio, float)
    assert build(Whole, {**GOOD, "note": None}).note is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"part": 3}, "part is 3, but it must have keys"),
        ({"part": {"width": 9}}, r"part\.width is 9, but it must lie between 1 and 8"),
        ({"part": {"width": 10**9}}, r"part\.width is 1000000000, but it must lie"),
        ({"part": {"width": True}}, r"part\.width is True, but it must be a whole number"),
        ({"part": {"width": 2.0}}, r"part\.width is 2\.0, but it must be a whole number"),
        ({"part": {"width": 10**400}}, r"part\.width is a number of 1329 bits, but"),
        ({"part": {"width": 1, "<b>": 1}}, r"part\.'\?b\?' is no key"),
        ({"part": {}}, r"part\.width is missing"),
        ({"name": 5}, "name is 5, but it must be text"),
        ({"name": None}, "name is None, but it must be text"),
        ({"name": "half \ud800"}, r"name is .*, but it must be text"),
        ({"ratio": "1"}, "ratio is '1', but it must be a number"),
        ({"ratio": math.nan}, "ratio is nan, but it must be a number"),
        ({"ratio": math.inf}, "ratio is inf, but it must be a number"),
        ({"on": 1}, "on is 1, but it must be true or false"),
        ({"kind": "third"}, "kind is 'third', but it must be one of one, other"),
        ({"kind": []}, "kind is"),
        ({"sizes": 1}, "sizes is 1, but it must be a list"),
        ({"sizes": [1, -1]}, "sizes is -1, but it must be at least 0"),
        ({"sizes": [1] * 4}, "sizes has 4 values, but at most 3"),
        ({"by_name": {"<i>": "x"}}, r"by_name\.'\?i\?' is 'x', but it must be a number"),
        ({"rest": []}, "rest is"),
        ({"name": ["x" * 10**6] * 100}, r"^name is .{0,110}, but it must be text\.$"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(ValueError, match=words) as error:
        build(Whole, {**GOOD, **change})
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("values", [None, [], "x", 3])
def test_what_has_no_keys_is_refused(values):
    for take in (build, picked):
        with pytest.raises(ValueError, match=r"the whole is .* must have keys"):
            take(Whole, values)


def test_only_the_fields_are_picked():
    assert picked(Part, {"width": 1, "other": 2}) == {"width": 1}


def test_limits_hold_whoever_makes_the_instance():
    check_limits(Part(8))
    with pytest.raises(ValueError, match="width is 9"):
        check_limits(Part(9))
    with pytest.raises(ValueError, match="sizes is -1"):
        check_limits(Whole(Part(1), "a", 1.0, True, sizes=(-1,)))
