from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

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
        ("title: 2024-02-30", "is not valid YAML"),
        ("title: a\n? [b]\n: c", "is not valid YAML"),
        (f"title: a\ninner: {{rate: 1{'0' * 400}}}", "but it must be a number."),
        ("title: a\ninner: {rate: }", "inner.rate is None, but it must be a number."),
        (f"title: a\ninner: {{steps: 1{'0' * 400}}}", "but it must be a whole number."),
        (
            f"title: a\ninner: {{steps: 0x{'f' * 6000}}}",
            "inner.steps is a number of 24000 bits, but",
        ),
        ("title: a\ninner: {steps: 1e300}", "inner.steps is a number of 997 bits, but it must"),
        ("title: 2020-13-45", "is not valid YAML"),
        ("title: !!int x", "is not valid YAML"),
        ("title: !!bool x", "is not valid YAML"),
        ("title: !!timestamp x", "is not valid YAML"),
        ("title: a\n? {b: c}\n: d", "the key in line 2 is no text"),
        (
            "title: &a [x]\ninner: *a",
            "line 2 has an alias (*), which is not read here: write it out.",
        ),
        ("title: &a [*a]", "has an alias"),
        (f"title: {'[' * 3000}", "nested more than 20 deep"),
        (f"title: {'{a: ' * 3000}", "nested more than 20 deep"),
        (f"title: {['x' * 9] * 1000}", "but it must be text."),
        ('title: a\n"\\e[31m<b>": b', "unknown key ?[31m?b?; the nearest"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in message(tmp_path, text)


@pytest.mark.parametrize(
    "value",
    ["2020-13-45", "!!bool x", "[" * 3000, "&a [*a]", "{[b]: c}", "0x" + "f" * 6000, "'\x00'"],
)
def test_a_wrong_value_of_an_override_is_refused_in_one_short_sentence(
    tmp_path: Path, value: str
) -> None:
    found = message(tmp_path, "title: a", f"title={value}")
    assert len(found) < 500 and found.isprintable()


def test_aliases_that_would_unfold_to_gigabytes_are_refused_at_the_first(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "line 2 has an alias" in message(tmp_path, "\n".join(lines))


def test_a_file_larger_than_any_configuration_is_not_parsed(tmp_path: Path) -> None:
    assert "more than 1 MiB" in message(tmp_path, "#" * (2**20 + 1))


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
    assert "not valid YAML" in message(tmp_path, "title: a", "title=2024-02-30")


def test_a_missing_or_binary_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_config(Outer, tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TrainingError, match="no text file"):
        read_config(Outer, tmp_path / "binary.yaml")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_sections_merge_with_the_base_key_by_key_and_the_rest_replaces(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "title: a\ninner: {steps: 7, sizes: [4, 5], name: x}")
    text = "base: base.yaml\ninner: {sizes: [6], name: , rate: 2}"
    assert read(tmp_path, text) == Outer("a", Inner(rate=2.0, steps=7, sizes=(6,)))


def test_a_section_and_the_word_none_replace_each_other(tmp_path: Path) -> None:
    write(tmp_path / "some.yaml", "title: a\ninner: {steps: 7}")
    write(tmp_path / "none.yaml", "title: a\ninner: none")
    assert read(tmp_path, "base: some.yaml\ninner: none") == Outer("a", Inner(kind="none"))
    assert read(tmp_path, "base: none.yaml\ninner: {steps: 7}") == Outer("a", Inner(steps=7))


def test_a_base_may_have_a_base_and_each_is_found_from_the_file_that_names_it(
    tmp_path: Path,
) -> None:
    write(tmp_path / "far" / "root.yaml", "title: root\ninner: {steps: 1, rate: 1}")
    write(tmp_path / "far" / "middle.yaml", "base: root.yaml\ntitle: middle\ninner: {rate: 2}")
    found = read(tmp_path, "base: far/middle.yaml\ninner: {name: tip}")
    assert found == Outer("middle", Inner(steps=1, rate=2.0, name="tip"))


def test_a_base_may_be_an_absolute_path(tmp_path: Path) -> None:
    path = write(tmp_path / "far" / "base.yaml", "title: a")
    assert read(tmp_path, yaml.safe_dump({"base": str(path.absolute())})) == Outer("a")


def test_overrides_come_after_every_base(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "title: a\ninner: {steps: 7, rate: 1}")
    found = read(tmp_path, "base: base.yaml\ninner: {steps: 8}", "inner.steps=9")
    assert found == Outer("a", Inner(steps=9, rate=1.0))
    assert "unknown key base" in message(tmp_path, "title: a", "base=base.yaml")


def test_bases_in_a_circle_are_refused_with_all_their_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "base: far/b.yaml")
    write(tmp_path / "far" / "b.yaml", "base: ../config.yaml")
    found = message(tmp_path, "base: a.yaml")
    assert "in a circle" in found
    assert all(name in found for name in ("config.yaml", "a.yaml", "b.yaml"))
    assert "in a circle" in message(tmp_path, "base: config.yaml")


def test_a_base_that_cannot_be_read_is_refused_with_the_file_that_names_it(tmp_path: Path) -> None:
    missing, config = tmp_path / "none.yaml", tmp_path / "config.yaml"
    found = message(tmp_path, "base: none.yaml")
    assert found.startswith(f"{missing}, the base of {config}, cannot be read")
    assert "cannot be read" in message(tmp_path, "base: .")


@pytest.mark.parametrize("value", ["3", "[base.yaml]", "{title: a}", ""])
def test_a_base_that_is_no_text_is_refused(tmp_path: Path, value: str) -> None:
    found = message(tmp_path, f"base: {value}\ntitle: a")
    assert "config.yaml: base is " in found and "must be text" in found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("title: a\ntitle: b", "the key title stands twice"),
        ("title: a\ninner: {stpes: 3}", "unknown key inner.stpes; the nearest valid key is "),
        ("title: a\ninner: {base: b.yaml}", "unknown key inner.base"),
        ("- a", "holds no settings"),
    ],
)
def test_what_is_wrong_in_a_base_is_refused_with_the_name_of_the_base(
    tmp_path: Path, text: str, wanted: str
) -> None:
    base = write(tmp_path / "base.yaml", text)
    # What stands above would hide the mistake, if it were looked for after merging.
    found = message(tmp_path, "base: base.yaml\ntitle: c\ninner: none")
    assert found.startswith(str(base)) and wanted in found
    assert "config.yaml" not in found


def test_a_wrong_value_of_merged_files_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    base = write(tmp_path / "base.yaml", "title: a\ninner: {steps: few}")
    found = message(tmp_path, "base: base.yaml\ninner: {rate: 1}")
    assert found.startswith(f"{tmp_path / 'config.yaml'} over {base}: inner.steps is 'few'")


def test_a_key_left_empty_in_a_base_may_be_filled_above_it(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "title:")
    assert read(tmp_path, "base: base.yaml", "title=a") == Outer("a")
    assert read(tmp_path, "base: base.yaml\ntitle: b") == Outer("b")


WHOLE = st.integers(-(2**63), 2**63 - 1)
SECTION = st.fixed_dictionaries(
    {},
    optional={
        "rate": st.floats(allow_nan=False, allow_infinity=False),
        "steps": WHOLE,
        "shown": st.booleans(),
        "kind": st.sampled_from(["none", "some"]),
        "sizes": st.lists(WHOLE),
        "name": st.none() | st.text(),
    },
)
SETTINGS = st.fixed_dictionaries({"title": st.text()}, optional={"inner": SECTION})
repeated = hypothesis.settings(deadline=None, database=None, derandomize=True)


def leaves(settings: dict[str, Any]) -> dict[str, Any]:
    """What flatten makes of settings: those that are written, and the defaults of the rest."""
    inner = {f"inner.{key}": value for key, value in settings.get("inner", {}).items()}
    return {**flatten(Outer("")), "title": settings["title"], **inner}


@repeated
@hypothesis.given(SETTINGS)
def test_settings_come_back_from_yaml_as_they_were_written(settings: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "config.yaml", yaml.safe_dump(settings))
        assert flatten(read_config(Outer, path)) == leaves(settings)


@repeated
@hypothesis.given(SETTINGS, SETTINGS)
def test_a_file_over_a_base_reads_as_the_base_with_the_files_keys_set(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    merged = {
        "title": above["title"],
        "inner": {**below.get("inner", {}), **above.get("inner", {})},
    }
    with TemporaryDirectory() as folder:
        write(Path(folder) / "base.yaml", yaml.safe_dump(below))
        path = write(Path(folder) / "a.yaml", yaml.safe_dump({"base": "base.yaml", **above}))
        assert flatten(read_config(Outer, path)) == leaves(merged)


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
