from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from training.errors import TrainingError
from training.settings.yaml_config import flatten, read_config


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    steps: int = 3
    shown: bool = True
    kind: Literal["none", "some"] = "some"
    sizes: tuple[int, ...] = (1, 2)
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    title: str
    inner: Inner = field(default_factory=Inner)


def read(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(Outer, path, overrides)


def message(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(TrainingError) as error:
        read(tmp_path, text, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_values_reach_their_fields_and_the_rest_keeps_its_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, "title: a\ninner: {steps: 7, sizes: [4, 5], name: x, shown: false}")
    assert found == Outer("a", Inner(steps=7, sizes=(4, 5), name="x", shown=False))


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "'1e-4'"])
def test_a_number_that_yaml_takes_for_text_is_a_number(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"title: a\ninner:\n  rate: {text}").inner.rate == 1e-4


def test_a_whole_number_may_be_written_with_an_exponent_or_underscores(tmp_path: Path) -> None:
    assert read(tmp_path, "title: a\ninner: {steps: 1e3}").inner.steps == 1000
    assert read(tmp_path, "title: a\ninner: {steps: 650_000}").inner.steps == 650_000


def test_an_unknown_key_is_refused_with_the_nearest_valid_one(tmp_path: Path) -> None:
    found = message(tmp_path, "title: a\ninner: {stpes: 3}")
    assert "config.yaml" in found
    assert "unknown key inner.stpes; the nearest valid key is inner.steps." in found


def test_a_key_in_the_wrong_section_is_refused_with_its_right_place(tmp_path: Path) -> None:
    assert "unknown key rate; the nearest valid key is inner.rate." in message(
        tmp_path, "title: a\nrate: 1"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("title: a\ninner: {rate: fast}", "inner.rate is 'fast', but it must be a number."),
        ("title: a\ninner: {rate: .inf}", "inner.rate is inf, but it must be a number."),
        ("title: a\ninner: {steps: 1.5}", "inner.steps is 1.5, but it must be a whole number."),
        ("title: a\ninner: {steps: true}", "inner.steps is True, but it must be a whole number."),
        ("title: a\ninner: {shown: 1}", "inner.shown is 1, but it must be true or false."),
        ("title: 3", "title is 3, but it must be text."),
        ("title: a\ninner: {kind: other}", "inner.kind is 'other', but it must be one of none, "),
        ("title: a\ninner: {kind: [none]}", "inner.kind is ['none'], but it must be one of"),
        ("title: a\ninner: 4", "inner is a section with keys of its own, not 4."),
        ("inner: {}", "title is missing"),
        ("title: a\ntitle: b", "the key title stands twice"),
        ("- a", "holds no settings"),
        ("", "holds no settings"),
        ("title: [a", "is not valid YAML"),
        ("title: a\ninner: {rate: }", "inner.rate is None, but it must be a number."),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in message(tmp_path, text)


def test_none_may_be_written_as_null_where_it_is_a_choice(tmp_path: Path) -> None:
    assert read(tmp_path, "title: a\ninner: {kind: null}").inner.kind == "none"


def test_none_may_stand_for_a_section_whose_kind_has_that_choice(tmp_path: Path) -> None:
    assert read(tmp_path, "title: a\ninner: none") == Outer("a", Inner(kind="none"))
    assert read(tmp_path, "title: a", "inner=none").inner.kind == "none"
    assert "inner is a section" in message(tmp_path, "title: a\ninner: some")


@pytest.mark.parametrize(("text", "sizes"), [("", ()), ("[]", ()), ("7", (7,)), ("[7, 8]", (7, 8))])
def test_a_list_may_be_left_empty_or_be_a_single_value(
    tmp_path: Path, text: str, sizes: tuple[int, ...]
) -> None:
    assert read(tmp_path, f"title: a\ninner:\n  sizes: {text}").inner.sizes == sizes


def test_overrides_change_single_keys(tmp_path: Path) -> None:
    found = read(tmp_path, "title: a", "inner.steps=9", "inner.sizes=[8]", "title=b")
    assert found == Outer("b", Inner(steps=9, sizes=(8,)))


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    assert "unknown key inner.step" in message(tmp_path, "title: a", "inner.step=9")
    assert "not of the form" in message(tmp_path, "title: a", "inner.steps")
    assert "a value and no section" in message(tmp_path, "title: a", "title.x=1")


def test_a_missing_or_binary_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_config(Outer, tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TrainingError, match="no text file"):
        read_config(Outer, tmp_path / "binary.yaml")


def test_flatten_names_every_leaf() -> None:
    assert flatten(Outer("a")) == {
        "title": "a",
        "inner.rate": 0.5,
        "inner.steps": 3,
        "inner.shown": True,
        "inner.kind": "some",
        "inner.sizes": [1, 2],
        "inner.name": None,
    }
