"""What makes files hostile: the same for the same seed, of every format, and sound where it is meant to be."""

import io
import json
import random
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load, save

from benchmarks.reliability.damage.formats import MAKERS, damaged
from benchmarks.reliability.damage.pickles import zip_bomb
from benchmarks.reliability.damage.safetensors_files import Parts
from benchmarks.reliability.damage.values import as_json, places, put, without

SOUND = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def whole(form: str) -> bytes:
    """A small whole file of a format."""
    target = io.BytesIO()
    if form == "safetensors":
        return save({"a.weight": torch.ones(2, 3)}, {"davae": json.dumps({"kind": "x", "n": [1]})})
    if form == "pickle":
        torch.save({"weight": torch.ones(3)}, target)
    elif form == "picture":
        Image.new("RGB", (9, 9)).save(target, "PNG")
    elif form == "tar":
        import tarfile

        with tarfile.open(fileobj=target, mode="w") as tar:
            info = tarfile.TarInfo("0.json")
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
    else:
        target.write(b'{"section": {"key": 1}, "other": [1, "two"]}')
        return target.getvalue().replace(b"}, ", b"},\n")
    return target.getvalue()


@pytest.mark.parametrize("form", [*MAKERS, "bytes"])
def test_the_same_seed_gives_the_same_damage_and_most_seeds_another(form):
    data = whole(form)
    first, again = ([damaged(form, data, random.Random(seed)) for seed in range(40)] for _ in "ab")
    assert first == again
    assert len({damage.data for damage in first} - {data}) > 15


@pytest.mark.parametrize("form", MAKERS)
def test_every_way_of_damage_works_on_a_whole_file(form):
    for make in MAKERS[form]:
        assert make(whole(form), random.Random(1)).name


def test_a_safetensors_file_is_taken_apart_and_put_together():
    data = whole("safetensors")
    again = load(Parts.of(data).as_bytes())
    assert torch.equal(again["a.weight"], load(data)["a.weight"])


def test_a_bomb_is_a_sound_zip_file_that_unpacks_to_two_gigabytes():
    damage = zip_bomb(whole("pickle"), random.Random(0))
    with zipfile.ZipFile(io.BytesIO(damage.data)) as file:
        largest = max(file.infolist(), key=lambda info: info.file_size)
        assert largest.file_size == 2**31 and len(damage.data) < 2**22
        with file.open(largest) as member:
            assert not any(member.read(2**20))


@given(SOUND, st.data())
def test_a_value_is_put_where_it_is_said_to_be_and_nowhere_else(value, data):
    place = data.draw(st.sampled_from(list(places(value))))
    changed = put(value, place, "new")
    found = changed
    for key in place:
        found = found[key]
    assert found == "new"
    assert len(list(places(changed))) <= len(list(places(value)))
    if place:
        assert len(list(places(without(value, place)))) < len(list(places(value)))


@given(SOUND)
def test_sound_values_are_written_as_json(value):
    assert json.loads(as_json(value)) == json.loads(json.dumps(value))
