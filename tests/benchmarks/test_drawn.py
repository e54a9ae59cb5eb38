"""The measures mind what an eye minds: noise, blur, ragged outlines and wrong captions make a set of pictures worse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from benchmarks.drawn.edges import boundary, edge_error
from benchmarks.drawn.fitting import fitted, stamp
from benchmarks.drawn.grain import band_powers, grain_distance
from benchmarks.drawn.lines import line_energy
from benchmarks.drawn.looks import look_at, together
from benchmarks.drawn.regions import Regions, blurred, eroded, grown, regions_of
from benchmarks.drawn.speckle import speckle
from benchmarks.drawn.verdict import score, verdict
from benchmarks.painted import closed, is_form
from training.mini.prompt_scenes import compose, render, silhouette

SIDE = 128
SCENES = [replace(compose(seed), format="square") for seed in range(3_000_000, 3_000_016)]
FORMS = [shape for scene in SCENES for shape in scene.shapes if is_form(shape)]
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
    return look_at(REAL, SCENES)


@pytest.mark.parametrize("spoil", [noisy, blurry, ragged])
def test_real_pictures_score_worse_when_they_are_spoilt(spoil, real):
    found = look_at([spoil(picture) for picture in REAL], SCENES)
    assert score(real, real) == 0.0 < 0.5 < score(found, real)


def test_each_fault_shows_in_its_own_measure(real):
    noise, blur, rough = (
        verdict(look_at([spoil(picture) for picture in REAL], SCENES), real)
        for spoil in (noisy, blurry, ragged)
    )
    unspoilt = verdict(real, real)
    assert noise.speckle > 1.5 * unspoilt.speckle > 1.5 * blur.speckle
    assert blur.grain > 2.0 > noise.grain
    assert rough.edges > 2.0 * unspoilt.edges > noise.edges


def test_pictures_of_other_captions_score_worse(real):
    found = look_at(REAL[1:] + REAL[:1], SCENES)
    assert verdict(found, real).captions < 0.2 and score(found, real) > 5.0


def test_sets_looked_at_apart_are_one_set(real):
    apart = together([look_at(REAL[:4], SCENES[:4]), look_at(REAL[4:], SCENES[4:])])
    assert verdict(apart, real) == verdict(real, real)


def test_regions_are_where_things_were_drawn():
    for scene in (*SCENES, *(replace(scene, format="wide") for scene in SCENES)):
        picture = render(scene, SIDE)
        height, width = picture.shape[:2]
        found = regions_of(picture, scene)
        things = np.zeros((height, width), dtype=bool)
        for shape in scene.shapes:
            things |= grown(closed(silhouette(shape, width, height) > 0), 6)
        for mask, shape in found.forms:
            drawn = silhouette(shape, width, height) > 0.5
            assert shape.surface == "plain"
            assert (mask & drawn).sum() > 0.45 * (mask | drawn).sum()
        if scene.background in ("striped", "hatched"):
            assert found.background is None and found.lines[~things].mean() > 0.9
        else:
            assert not found.lines[~things].any()
        if found.background is not None:
            assert found.background[~things].mean() > 0.97


def test_a_picture_without_its_things_has_no_edges_and_a_patterned_one_no_flat_place():
    scene = next(scene for scene in SCENES if scene.background == "wooden")
    blank = np.full((SIDE, SIDE, 3), 150, dtype=np.uint8)
    regions = regions_of(blank, scene)
    assert edge_error(regions) is None
    assert speckle(blank, regions) is None and line_energy(blank, regions) is None


def test_lines_lose_their_energy_when_half_the_resolution_is_thrown_away():
    halved = [
        np.asarray(
            Image.fromarray(picture).reduce(2).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        )
        for picture in REAL
    ]
    real = look_at(REAL, SCENES)
    assert verdict(real, real).lines == 1.0
    assert verdict(look_at(halved, SCENES), real).lines < 0.5


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (192, 128)])
def test_a_stamp_is_the_silhouette_to_the_pixel_even_where_it_leaves_the_picture(size):
    random = np.random.default_rng(2)
    width, height = size
    for shape in FORMS:
        moved = replace(
            shape,
            x=float(random.uniform(0, 1)),
            y=float(random.uniform(0, 1)),
            turn=float(random.normal()),
        )
        whole = silhouette(moved, width, height) > 0.5
        assert np.array_equal(stamp(moved, width, height).on(width, height), whole)


def test_a_shape_is_found_again_where_it_stands():
    for shape in FORMS:
        drawn = silhouette(replace(shape, x=shape.x + 0.02, turn=0.07), SIDE, SIDE) > 0.5
        found = fitted(drawn, shape)
        assert (found & drawn).sum() > 0.97 * (found | drawn).sum()


def test_speckle_is_what_a_blur_over_flat_places_leaves():
    number = next(n for n, scene in enumerate(SCENES) if scene.background == "grey")
    picture, scene = noisy(REAL[number]), SCENES[number]
    regions = regions_of(picture, scene)
    forms = [form for form, _ in regions.forms]
    flat = np.logical_or.reduce(
        [eroded(mask, 8) for mask in (*forms, regions.background) if mask is not None]
    )
    values, kept = torch.tensor(picture).movedim(-1, 0)[None].double(), torch.from_numpy(flat)
    slow = blurred(values * kept, 6.0) / blurred(kept[None, None].double(), 6.0)
    left = (values - slow).abs().mean(dim=1)[0][kept]
    assert speckle(picture, regions) == pytest.approx(float(left.mean()), rel=1e-5)


def test_what_stands_on_a_flat_place_is_no_speckle_there():
    flat, spotted = np.full((2, 128, 128, 3), 140, dtype=np.uint8)
    spotted[:40] = 0
    background = np.ones((128, 128), dtype=bool)
    background[:40] = False
    regions = Regions((), background, np.zeros_like(background))
    assert speckle(spotted, regions) == pytest.approx(speckle(flat, regions), abs=1e-4)


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
