"""What a model says of the sizes it was trained at."""

import json

import pytest

from davae_core.presets import SD3
from davae_core.transformer.description import Advice, ModelDescription


def test_sizes_are_told_apart_into_squares_and_oblongs_and_come_back():
    advice = Advice.of_sizes(3.0, 2.5, 20, [(288, 192), (256, 256), (192, 288), (256, 256)])
    assert (advice.sizes, advice.oblongs) == ((256,), ((192, 288), (288, 192)))
    assert advice.trained == ((256, 256), (192, 288), (288, 192))
    assert advice.trained_words == "256x256 or 192x288 or 288x192"
    described = ModelDescription(SD3.layout, advice)
    assert ModelDescription.from_json(json.loads(json.dumps(described.as_json()))) == described


def test_files_from_before_oblongs_are_read():
    told = ModelDescription(SD3.layout, Advice(sizes=(1024,))).as_json()
    del told["advice"]["oblongs"]
    assert ModelDescription.from_json(told).advice.trained == ((1024, 1024),)


@pytest.mark.parametrize("oblongs", [[[1, 2, 3]], [[5]], [[0, 4]], [7], [["a", 2]]])
def test_oblongs_are_pairs_of_sides(oblongs):
    told = ModelDescription(SD3.layout, Advice()).as_json()
    told["advice"]["oblongs"] = oblongs
    with pytest.raises(ValueError, match="oblongs"):
        ModelDescription.from_json(told)


def test_a_size_is_near_from_half_to_twice_the_pixels_of_a_trained_one():
    advice = Advice.of_sizes(3.0, 2.5, 20, [(1024, 1024), (1216, 832)])
    assert advice.is_near(832, 1216) and advice.is_near(1448, 1448) and advice.is_near(768, 768)
    assert not advice.is_near(2048, 2048) and not advice.is_near(512, 512)
    assert Advice().is_near(64, 64)
