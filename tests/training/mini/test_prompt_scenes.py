"""The generator's scenes: the same everywhere, and true to their captions."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from training.mini.prompt_scenes import (
    BACKGROUNDS,
    FORMATS,
    LETTERS,
    PLACES,
    SHAPE_COLOURS,
    SHAPES,
    SURFACES,
    PlacedShape,
    PromptScene,
    caption,
    compose,
    render,
    sides,
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
    assert {part.surface for part in shapes} == set(SURFACES)
    assert {part.surface for part in shapes if part.shape in LETTERS} == {"plain"}
    assert {scene.format for scene in scenes} == set(FORMATS)


def test_a_caption_names_everything_and_the_background():
    shapes = (
        PlacedShape("circle", "red", "on the left", 0.27, 0.5, 0.2, 0.0),
        PlacedShape("star", "blue", "on the right", 0.73, 0.5, 0.2, 0.0, "outlined"),
    )
    assert caption(PromptScene(0, "wooden", shapes)) == (
        "a red circle on the left and an outlined blue star on the right, on a wooden background"
    )


@pytest.mark.parametrize(
    ("shown", "size"), [("square", (256, 256)), ("wide", (288, 192)), ("tall", (192, 288))]
)
def test_a_scene_has_its_format(shown, size):
    scene = replace(compose(3), format=shown)
    assert sides(shown, 256) == size and render(scene, 256).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("seed", range(16))
def test_everything_has_its_colour_where_the_caption_says(seed):
    scene = compose(seed)
    picture = render(scene, 128).astype(np.float32)
    height, width = picture.shape[:2]
    for part in scene.shapes:
        inside = silhouette(part, width, height, -3.0) > 0.99
        near = np.abs(picture - COLOURS[part.colour]).max(axis=-1) < 40
        share = {"plain": (0.95, 1.0), "hatched": (0.2, 0.7), "outlined": (0.0, 0.1)}[part.surface]
        if part.shape in LETTERS:
            inside = silhouette(part, width, height) > 0.99
        assert share[0] <= near[inside].mean() <= share[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_edge_of_a_grown_silhouette_moves_out_by_so_many_pixels(shape):
    found = PlacedShape(shape, "red", "in the centre", 0.5, 0.5, 0.2, 0.0)
    area = [silhouette(found, 256, 256, pixels).sum() for pixels in (-2.0, 0.0, 2.0)]
    assert area[0] < area[1] < area[2]


def test_a_scene_has_one_composition_at_every_size():
    scene = compose(3)
    small = render(scene, 64)
    large = Image.fromarray(render(scene, 128)).resize(small.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(np.asarray(large, np.float32) - small).mean() < 14
