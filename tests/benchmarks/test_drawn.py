"""The measures mind what an eye minds: noise, blur, ragged outlines and wrong captions make a set of pictures worse."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from benchmarks.drawn.edges import boundary, edge_error
from benchmarks.drawn.grain import band_powers, grain_distance
from benchmarks.drawn.regions import eroded, regions_of
from benchmarks.drawn.speckle import speckle
from benchmarks.drawn.verdict import powers_of, verdict
from training.mini.prompt_scenes import compose, render, silhouette

SIDE = 128
SCENES = [compose(seed) for seed in range(3_000_000, 3_000_010)]
REAL = [render(scene, SIDE) for scene in SCENES]


def noisy(picture):
    random = np.random.default_rng(0)
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def blurry(picture):
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))


def ragged(picture):
    """Rows moved to and fro by up to three pixels."""
    random = np.random.default_rng(1)
    moved = [np.roll(row, random.integers(-3, 4), axis=0) for row in picture]
    return np.stack(moved)


@pytest.fixture(scope="module")
def real():
    return verdict(REAL, SCENES, powers_of(REAL))


@pytest.mark.parametrize("spoil", [noisy, blurry, ragged])
def test_real_pictures_score_worse_when_they_are_spoilt(spoil, real):
    found = verdict([spoil(picture) for picture in REAL], SCENES, powers_of(REAL))
    assert real.score(real) == 0.0 < 0.5 < found.score(real)


def test_each_fault_shows_in_its_own_measure(real):
    powers = powers_of(REAL)
    noise = verdict([noisy(picture) for picture in REAL], SCENES, powers)
    blur = verdict([blurry(picture) for picture in REAL], SCENES, powers)
    rough = verdict([ragged(picture) for picture in REAL], SCENES, powers)
    assert noise.speckle > 1.5 * real.speckle > 1.5 * blur.speckle
    assert blur.grain > 2.0 > noise.grain
    assert rough.edges > 2.0 * real.edges > noise.edges


def test_pictures_of_other_captions_score_worse(real):
    found = verdict(REAL[1:] + REAL[:1], SCENES, powers_of(REAL))
    assert found.captions < 0.2 and found.score(real) > 5.0


def test_regions_are_where_the_shapes_were_drawn():
    for scene, picture in zip(SCENES, REAL, strict=True):
        for mask, shape in zip(regions_of(picture, scene).shapes, scene.shapes, strict=True):
            drawn = silhouette(shape, SIDE) > 0.5
            assert (mask & drawn).sum() > 0.7 * (mask | drawn).sum()


def test_a_picture_without_its_shapes_has_no_edges_and_a_patterned_one_no_flat_place():
    scene = next(scene for scene in SCENES if scene.background in ("wooden", "striped"))
    blank = np.full((SIDE, SIDE, 3), 150, dtype=np.uint8)
    assert edge_error(blank, scene) is None
    assert speckle(blank, scene) is None


def test_masks_shrink_from_the_picture_s_border_only_where_they_end_there():
    mask = np.zeros((20, 20), dtype=bool)
    mask[:, :10] = True
    assert eroded(mask, 3)[:, :7].all() and not eroded(mask, 3)[:, 7:].any()
    assert set(map(tuple, boundary(mask))) == {(row, 9.0) for row in map(float, range(20))}


def test_grain_counts_octaves_of_energy():
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    powers = band_powers(pictures)
    assert grain_distance(powers, powers) == 0.0
    assert grain_distance(band_powers(pictures * 2), powers) == pytest.approx(2.0, abs=1e-5)
