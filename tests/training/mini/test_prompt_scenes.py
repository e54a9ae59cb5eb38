"""The generator's scenes: the same everywhere, and true to their captions."""

import numpy as np
import pytest
from PIL import Image

from training.mini.prompt_scenes import (
    BACKGROUNDS,
    PLACES,
    SHAPE_COLOURS,
    SHAPES,
    PlacedShape,
    PromptScene,
    caption,
    compose,
    render,
    silhouette,
)
from training.mini.scenes import COLOURS


def test_a_scene_is_a_function_of_its_seed():
    assert compose(7) == compose(7)
    assert (render(compose(7), 64) == render(compose(7), 64)).all()
    assert len({render(compose(seed), 32).tobytes() for seed in range(20)}) == 20


def test_everything_a_caption_can_say_occurs():
    scenes = [compose(seed) for seed in range(300)]
    shapes = [part for scene in scenes for part in scene.shapes]
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert {part.shape for part in shapes} == set(SHAPES)
    assert {part.colour for part in shapes} == set(SHAPE_COLOURS)
    assert {part.place for part in shapes} == set(PLACES)
    assert {len(scene.shapes) for scene in scenes} == {1, 2}


def test_a_caption_names_every_shape_and_the_background():
    shapes = (
        PlacedShape("circle", "red", "on the left", 0.27, 0.5, 0.2, 0.0),
        PlacedShape("star", "blue", "on the right", 0.73, 0.5, 0.2, 0.0),
    )
    assert caption(PromptScene(0, "wooden", shapes)) == (
        "a red circle on the left and a blue star on the right, on a wooden background"
    )


@pytest.mark.parametrize("seed", range(8))
def test_each_shape_has_its_colour_where_the_caption_says(seed):
    scene = compose(seed)
    picture = render(scene, 128).astype(np.float32)
    for part in scene.shapes:
        inside = silhouette(part, 128, 0.6) > 0.99
        assert np.abs(picture[inside].mean(0) - COLOURS[part.colour]).max() < 40


def test_a_scene_has_one_composition_at_every_size():
    scene = compose(3)
    large = Image.fromarray(render(scene, 128)).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(large, np.float32) - render(scene, 64)).mean() < 14
