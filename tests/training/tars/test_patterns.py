"""Which tar files a setting such as `source.shards` names."""

import pytest

from training.errors import TrainingError
from training.tars.patterns import in_braces, tar_files


@pytest.fixture
def files(tmp_path):
    for name in ("one/0.tar", "one/1.tar", "two/deep/0.tar", "set-00000.tar", "set-00001.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def named(files, *patterns):
    found = tar_files([f"{files}/{pattern}" for pattern in patterns], "source.shards")
    return {path.relative_to(files).as_posix(): label for path, label in found.items()}


def test_braces_are_lists_as_in_a_shell():
    assert list(in_braces("a{00008..00010}.tar")) == ["a00008.tar", "a00009.tar", "a00010.tar"]
    assert list(in_braces("{9..10}")) == ["9", "10"]
    assert list(in_braces("{a,b}/{0..1}")) == ["a/0", "a/1", "b/0", "b/1"]
    assert list(in_braces("{a}-x")) == ["{a}-x"]


def test_patterns_name_files_in_any_part_of_the_path_and_none_twice(files):
    assert list(named(files, "set-{00000..00001}.tar")) == ["set-00000.tar", "set-00001.tar"]
    assert list(named(files, "o*/1.tar")) == ["one/1.tar"]
    assert list(named(files, "**/1.tar", "one/*.tar")) == ["one/1.tar", "one/0.tar"]


def test_shards_of_one_name_are_told_apart_by_their_folders(files):
    assert named(files, "**/0.tar", "one/1.tar") == {
        "one/0.tar": "one/0.tar", "two/deep/0.tar": "two/deep/0.tar", "one/1.tar": "1.tar",
    }  # fmt: skip


def test_a_file_whose_own_name_has_brackets_is_that_file(files):
    for name in ("a[1].tar", "b{0..3}.tar"):
        (files / name).write_bytes(b"")
        assert list(named(files, name)) == [name]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("no-*.tar", r"no-\*\.tar, which matches no file"),
        ("set-{00000..00002}.tar", r"set-00002\.tar \(from .*\), which matches no file"),
        ("set-{0..999999999}.tar", "names more than 100000 files"),
        ("one", "matches no file"),
    ],
)
def test_a_shard_that_is_not_there_is_named(files, pattern, words):
    with pytest.raises(TrainingError, match=words):
        named(files, pattern)
