import json

import pytest

from davae_core.reading.json_text import DEEPEST, LARGEST, parse_json, read_json


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


@pytest.mark.parametrize(
    "text", [nested(100_000), '{"a":' * 100_000, nested(900), nested(DEEPEST + 1)]
)
def test_what_is_nested_beyond_all_sense_is_a_reason(text):
    with pytest.raises(ValueError, match=r"nested|no valid JSON"):
        parse_json(text)


@pytest.mark.parametrize("text", ["", "{", "1" * 5000, b"\xff\xfe", '{"a": 1,}'])
def test_what_is_damaged_is_a_reason(text):
    with pytest.raises(ValueError, match=r"^it is no valid JSON$"):
        parse_json(text)


def test_what_is_whole_comes_back(tmp_path):
    value = {"a": [1, 2.5, None, True, {"b": "ä"}], "c": [[[]]] * 100}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert parse_json(json.dumps(value)) == read_json(path) == value
    assert parse_json(nested(DEEPEST)) is not None


def test_a_file_larger_than_any_of_ours_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ValueError, match="64 MiB"):
        read_json(path)
