"""The procedural scenes: the same everywhere, as varied as they claim, and true to their captions."""

import numpy as np
import pytest
from PIL import Image

from training.mini.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    Scene,
    SceneObject,
    caption,
    compose,
    relation,
    render,
)


def thing(shape="circle", colour="red", x=0.5, y=0.5, cell=(1, 1)):
    return SceneObject(shape, colour, x, y, 0.1, 0.0, cell)


def scene(*objects, background="wood", word=None):
    return Scene(0, background, objects, word, 0)


def test_the_same_seed_gives_the_same_picture():
    first, scene_a = render(7, 96)
    second, scene_b = render(7, 96)
    assert (first == second).all() and scene_a == scene_b
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8


def test_other_seeds_give_other_pictures():
    assert len({render(seed, 32)[0].tobytes() for seed in range(40)}) == 40


def test_a_scene_has_one_composition_at_every_size():
    large, scene_large = render(3, 192, ("gradient",))
    small, scene_small = render(3, 96, ("gradient",))
    assert scene_large == scene_small
    shrunk = np.asarray(Image.fromarray(large).resize((96, 96), Image.Resampling.BOX), np.float32)
    # Grain and the shapes' roughness are drawn anew, so near and not equal.
    assert np.abs(shrunk - small).mean() < 12


def test_every_background_shape_and_colour_occurs():
    scenes = [compose(seed) for seed in range(400)]
    objects = [part for found in scenes for part in found.objects]
    assert {found.background for found in scenes} == set(BACKGROUNDS)
    assert {part.shape for part in objects} == set(SHAPES)
    assert {part.colour for part in objects} == set(COLOURS)
    assert {len(found.objects) for found in scenes} == {1, 2, 3}
    assert any(found.word for found in scenes) and any(found.lines for found in scenes)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_is_drawn_and_is_no_flat_field(background):
    picture, found = render(11, 64, (background,))
    assert found.background == background
    assert picture.std() > 2


def test_objects_lie_inside_the_picture_and_apart():
    for seed in range(300):
        found = compose(seed).objects
        for part in found:
            assert part.radius <= part.x <= 1 - part.radius
            assert part.radius <= part.y <= 1 - part.radius
        cells = [part.cell for part in found]
        assert len(set(cells)) == len(cells)
        assert len({part.colour for part in found}) == len(found)


def test_the_named_colour_is_found_where_the_scene_says():
    """The nearest named colour at the middle of each shape, in hue and brightness, is the shape's own."""
    right = total = 0
    names = list(COLOURS)
    table = np.array([COLOURS[name] for name in names], dtype=np.float32)
    for seed in range(60):
        picture, found = render(seed, 128, ("gradient", "plain"))
        if found.lines or found.word:
            continue
        for part in found.objects:
            if part.shape == "ring":
                continue
            x, y = int(part.x * 128), int(part.y * 128)
            seen = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)
            right += names[int(np.abs(table - seen).sum(1).argmin())] == part.colour
            total += 1
    assert total > 40
    assert right / total > 0.9


def test_a_caption_places_a_single_object():
    assert caption(scene(thing())) == "a red circle in the centre on a wooden background"
    left = thing("star", "orange", 0.2, 0.5, (1, 0))
    assert caption(scene(left)) == "an orange star at the left on a wooden background"


def test_a_caption_relates_two_objects():
    above = thing(x=0.5, y=0.2, cell=(0, 1))
    below = thing("square", "blue", 0.5, 0.8, (2, 1))
    wanted = "a red circle above a blue square on a wooden background"
    assert caption(scene(above, below)) == wanted
    assert relation(below, above) == "below"


def test_a_caption_lists_three_objects_and_quotes_the_word():
    parts = (
        thing(x=0.2, y=0.2, cell=(0, 0)),
        thing("square", "blue", 0.5, 0.5, (1, 1)),
        thing("ring", "pink", 0.8, 0.8, (2, 2)),
    )
    assert caption(scene(*parts, background="leaves", word="salt")) == (
        "a red circle at the top left, a blue square in the centre and a pink ring at the bottom right "
        'on a pile of leaves and the word "salt"'
    )


def test_every_relation_in_a_caption_is_true_of_the_scene():
    for seed in range(300):
        found = compose(seed)
        if len(found.objects) != 2:
            continue
        first, second = found.objects
        said = relation(first, second)
        gap = {
            "above": second.y - first.y,
            "below": first.y - second.y,
            "left of": second.x - first.x,
            "right of": first.x - second.x,
        }[said]
        assert gap > 0.15
        assert f" {said} " in caption(found)


def test_too_small_a_size_and_unknown_backgrounds_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        render(0, 8)
    with pytest.raises(ValueError, match="Unknown backgrounds"):
        render(0, 64, ("velvet",))
