"""The command that makes the miniature's training pictures."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from training.errors import TrainingError
from training.mini.caption_pairs import draw_line_scene, draw_prompt_scene
from training.mini.photographs import CHOOSING, HELD_OUT, TRAINING
from training.mini.pictures import CODEC_BACKGROUNDS, main, write_codec_pictures
from training.mini.pictures_config import CodecPicturesConfig
from training.mini.scenes import caption, render


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures")
    assert main([str(out), "--scenes", "3", "--crops", "24", "--size", "192", "--seed", "5"]) == 0
    return out


def test_every_scene_has_its_caption_beside_it(made):
    pictures = sorted((made / "train" / "scenes").glob("*.png"))
    assert [path.name for path in pictures] == [f"scene_{n:07d}.png" for n in (5, 6, 7)]
    for path in pictures:
        text = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        assert text.startswith(("a ", "an ")) and " on " in text


def test_scenes_as_lines_keep_forms_places_and_captions():
    for seed in range(6):
        (painted, caption), (lines, same) = (
            draw(seed, 128) for draw in (draw_prompt_scene, draw_line_scene)
        )
        assert caption == same and lines.shape == painted.shape
        # The paper is white where no line is, and more of it than of the painted scene's is.
        white = (lines.min(axis=-1) > 200).mean()
        assert 0.6 < white < 1 and not np.array_equal(lines, painted)


def test_photograph_crops_come_from_training_photographs_only(made):
    allowed = {photo.name for photo in TRAINING}
    paths = list((made / "train" / "photographs").glob("*.png"))
    assert len(paths) == 24
    assert {path.stem.rpartition("_")[0] for path in paths} <= allowed
    for path in paths:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            assert 160 <= min(picture.size) <= max(picture.size) <= 192


def test_photographs_of_a_folder_take_the_packages_place(tmp_path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/a.png"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "mine" / name)
    config = CodecPicturesConfig(
        str(tmp_path / "out"), 1, 5, 64, photographs=str(tmp_path / "mine")
    )
    for _ in range(2):
        folder = write_codec_pictures(config, keep=True) / "train" / "photographs"
        assert sorted(path.name for path in folder.iterdir()) == ["00000_a.png", "00001_a.png"]
    with pytest.raises(TrainingError, match=r"photographs names .*none, which is not a folder"):
        write_codec_pictures(replace(config, photographs=str(tmp_path / "none")))


def test_the_choosing_folder_holds_no_held_out_and_no_training_picture(made):
    names = {path.stem for path in (made / "val").glob("*.png")}
    assert {photo.name for photo in CHOOSING} <= names
    assert not names & {photo.name for photo in HELD_OUT + TRAINING}
    for path in (made / "val").glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width % 32 == 0 and picture.height % 32 == 0


def test_the_same_seed_makes_the_same_pictures(made, tmp_path):
    assert (
        main([str(tmp_path), "--scenes", "1", "--crops", "4", "--size", "192", "--seed", "5"]) == 0
    )
    for path in sorted(tmp_path.rglob("*.png")):
        other = made / path.relative_to(tmp_path)
        assert (np.asarray(Image.open(path)) == np.asarray(Image.open(other))).all()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file"), "--scenes", "1", "--crops", "1"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "file" in message and "Traceback" not in message


def test_a_written_scene_is_the_rendered_one(made):
    names = (made / "train" / "scenes" / "scene_0000006.txt").read_text(encoding="utf-8").strip()
    picture, scene = render(6, 192, CODEC_BACKGROUNDS)
    assert names == caption(scene)
    written = np.asarray(Image.open(made / "train" / "scenes" / "scene_0000006.png"))
    assert (written == picture).all()
