"""The checker passes what a caption says, and nothing else."""

import numpy as np

from benchmarks.scene_checker import check
from training.mini.prompt_scenes import compose, render

SCENES = [compose(seed) for seed in range(3_000_000, 3_000_016)]


def test_drawn_scenes_keep_what_their_captions_say():
    assert all(check(render(scene, 128), scene).accurate for scene in SCENES)


def test_other_scenes_do_not():
    others = SCENES[1:] + SCENES[:1]
    assert not any(
        check(render(other, 128), scene).accurate
        for scene, other in zip(SCENES, others, strict=True)
    )


def test_a_grey_picture_shows_no_shape():
    found = check(np.full((128, 128, 3), 140, dtype=np.uint8), SCENES[0])
    assert (found.coloured, found.formed) == (0, 0)
