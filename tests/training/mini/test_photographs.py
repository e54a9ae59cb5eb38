"""The bundled photographs, and the wall between those trained on and those held out."""

import numpy as np
import pytest

from training.mini import photographs
from training.mini.photographs import CHOOSING, HELD_OUT, TRAINING, Photograph

RUN = 16
FACTORS = np.random.default_rng(0).integers(1, 2**63, RUN, dtype=np.uint64)


def runs(photo, step=1):
    """A number for each run of 16 pixels of a row, at every ``step``-th row; flat runs are left out."""
    grey = np.asarray(photographs.load(photo))[::step, :, 1].astype(np.uint64)
    places = grey.shape[1] - RUN + 1
    numbers = sum(FACTORS[i] * grey[:, i : i + places] for i in range(RUN))
    contrast = np.abs(grey[:, :places].astype(int) - grey[:, RUN - 1 :].astype(int))
    return numbers[contrast > 30]


def share_inside(found, whole):
    """Which part of the runs ``found`` occurs among the sorted runs ``whole``."""
    places = np.searchsorted(whole, found).clip(max=len(whole) - 1)
    return (whole[places] == found).sum() / max(len(found), 1)


def test_six_photographs_are_held_out():
    names = ["astronaut", "coffee", "chelsea", "rocket", "camera", "china"]
    assert [photo.name for photo in HELD_OUT] == names


@pytest.mark.parametrize("photo", HELD_OUT + CHOOSING + TRAINING, ids=lambda photo: photo.name)
def test_every_photograph_loads_without_a_network(photo):
    picture = photographs.load(photo)
    assert picture.mode == "RGB"
    assert min(picture.size) >= 160
    assert photo.licence


def test_nothing_held_out_is_trained_on_or_chosen_by():
    held_out = np.sort(np.concatenate([runs(photo) for photo in HELD_OUT]))
    for photo in TRAINING + CHOOSING:
        assert share_inside(runs(photo, step=8), held_out) < 0.001, photo.name


def test_the_comparison_of_contents_would_notice_a_held_out_photograph():
    part = Photograph("part", HELD_OUT[0].package, HELD_OUT[0].file, "", (100, 100, 300, 300))
    assert share_inside(runs(part), np.sort(runs(HELD_OUT[0]))) == 1


def test_nothing_trained_on_serves_for_choosing():
    trained = np.sort(np.concatenate([runs(photo) for photo in TRAINING]))
    for photo in CHOOSING:
        assert share_inside(runs(photo, step=8), trained) < 0.001, photo.name


def test_a_missing_package_and_a_missing_file_are_named():
    with pytest.raises(FileNotFoundError, match="not installed"):
        photographs.load(Photograph("x", "no_such_package_here", "x.png", ""))
    with pytest.raises(FileNotFoundError, match=r"does not ship data/none\.png"):
        photographs.load(Photograph("x", "skimage", "data/none.png", ""))
