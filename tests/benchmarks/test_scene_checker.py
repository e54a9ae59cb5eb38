"""The checker passes what a caption says, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scene_checker import check
from training.mini.prompt_scenes import (
    BACKGROUNDS,
    SHAPE_COLOURS,
    SHAPES,
    SURFACES,
    PlacedShape,
    PromptScene,
    compose,
    render,
)

SCENES = [compose(seed) for seed in range(3_000_000, 3_000_024)]


@pytest.mark.parametrize("size", [128, 256])
def test_drawn_scenes_keep_what_their_captions_say(size):
    assert all(check(render(scene, size), scene).accurate for scene in SCENES)


def test_other_scenes_do_not():
    others = SCENES[1:] + SCENES[:1]
    assert not any(
        check(render(replace(other, format=scene.format), 128), scene).accurate
        for scene, other in zip(SCENES, others, strict=True)
    )


def test_a_grey_picture_shows_nothing():
    found = check(np.full((128, 128, 3), 140, dtype=np.uint8), SCENES[0])
    assert (found.coloured, found.formed, found.surfaced) == (0, 0, 0)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_right_form_with_another_surface_is_told_from_the_right_one(surface):
    wanted = PlacedShape("star", "blue", "in the centre", 0.5, 0.5, 0.2, 0.0, surface)
    for drawn in SURFACES:
        picture = render(PromptScene(1, "grey", (replace(wanted, surface=drawn),)), 256)
        found = check(picture, PromptScene(1, "grey", (wanted,)))
        assert (found.formed, found.surfaced) == (1, int(drawn == surface))


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", SHAPE_COLOURS)
def test_a_thin_outline_is_seen_on_every_background_and_is_no_other(background, colour):
    drawn = PlacedShape("triangle", colour, "in the centre", 0.5, 0.5, 0.2, 0.0, "outlined")
    picture = render(PromptScene(2, background, (drawn,)), 256)
    wrong = (
        *(replace(drawn, colour=other) for other in SHAPE_COLOURS if other != colour),
        *(replace(drawn, shape=other) for other in SHAPES if other != drawn.shape),
        *(replace(drawn, surface=other) for other in SURFACES if other != drawn.surface),
    )
    assert check(picture, PromptScene(2, background, (drawn,))).accurate
    assert not any(check(picture, PromptScene(2, background, (one,))).accurate for one in wrong)
