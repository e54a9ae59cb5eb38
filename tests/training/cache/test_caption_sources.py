"""Captioned pictures from folders and WebDataset shards, and what is said of broken ones."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from training.cache.caption_sources import scan_captioned
from training.errors import TrainingError


def png(colour):
    data = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(data, format="PNG")
    return data.getvalue()


def folder_with(tmp_path, **files):
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(folder)


def tar_with(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_captions_come_from_txt_and_json_beside_the_pictures(tmp_path):
    folder = folder_with(
        tmp_path,
        a_png=png("red"), a_txt="a red\npicture ", below__b_png=png("blue"),
        below__b_json=json.dumps({"prompt": "a blue one"}),
    )  # fmt: skip
    found = scan_captioned([folder], [])
    assert [part.name for part in found.pictures] == ["0/a.png", "0/below/b.png"]
    assert [p.read_caption("prompt") for p in found.pictures] == ["a red picture", "a blue one"]
    assert found.pictures[0].read_picture().shape == (3, 6, 8)


def test_tar_shards_give_the_same_as_folders(tmp_path):
    shard = tar_with(
        tmp_path / "set-000.tar",
        {"x/1.png": png("red"), "x/1.txt": b"one", "x/2.png": png("blue"),
         "x/2.json": b'{"prompt": "two"}', "x/3.png": png("green"), "x/4.txt": b"alone"},
    )  # fmt: skip
    found = scan_captioned([], [str(tmp_path / "set-*.tar")])
    assert [part.name for part in found.pictures] == ["set-000.tar/x/1.png", "set-000.tar/x/2.png"]
    assert [p.read_caption("prompt") for p in found.pictures] == ["one", "two"]
    red = found.pictures[0].read_picture()
    assert torch.equal(red[:, 0, 0], torch.tensor([255, 0, 0], dtype=torch.uint8))
    assert found.uncaptioned == ("set-000.tar/x/3.png",)
    assert shard.endswith("set-000.tar")


def test_pictures_without_captions_are_listed_and_none_at_all_is_refused(tmp_path):
    folder = folder_with(tmp_path, a_png=png("red"))
    with pytest.raises(TrainingError, match=r"None of the 1 pictures has a caption"):
        scan_captioned([folder], [])


def test_a_pattern_without_files_and_a_broken_tar_are_named(tmp_path):
    with pytest.raises(TrainingError, match=r"matches no file"):
        scan_captioned([], [str(tmp_path / "none-*.tar")])
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(TrainingError, match=r"bad\.tar is no readable, uncompressed tar file"):
        scan_captioned([], [str(tmp_path / "bad.tar")])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no JSON"), ('{"text": "x"}', "no text under the key 'prompt'"), ("[1]", "no text")],
)
def test_a_broken_caption_is_named(tmp_path, text, message):
    folder = folder_with(tmp_path, a_png=png("red"), a_json=text)
    (picture,) = scan_captioned([folder], []).pictures
    with pytest.raises(TrainingError, match=message):
        picture.read_caption("prompt")


def test_the_digest_changes_with_the_names(tmp_path):
    folder = folder_with(tmp_path, a_png=png("red"), a_txt="x")
    before = scan_captioned([folder], []).digest
    folder_with(tmp_path / "more", a_png=png("red"), a_txt="x", b_png=png("red"), b_txt="y")
    assert scan_captioned([str(tmp_path / "more" / "pictures")], []).digest != before


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '"' + "a" * 2**20 + '"', r'{"caption": "half \ud800"}']
)
def test_a_caption_beyond_all_sense_is_a_sentence_about_that_caption(tmp_path, text):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(text)
    (picture,) = scan_captioned([str(tmp_path)], []).pictures
    with pytest.raises(
        TrainingError, match=r"The caption of 0/a\.png is no text in UTF-8 or no JSON"
    ):
        picture.read_caption("caption")


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\x80" + b"\0" * 3 + b"\x7f" * 8]
)
def test_a_size_beyond_the_tar_file_is_refused(tmp_path, size):
    packed = tmp_path / "set.tar"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with tarfile.open(packed, "w") as tar:
        tar.add(tmp_path / "a.png", arcname="a.png")
    whole = bytearray(packed.read_bytes())
    whole[124:136] = size
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole[:512])
    packed.write_bytes(whole)
    with pytest.raises(TrainingError, match=r"set\.tar is no readable, uncompressed tar file"):
        scan_captioned([], [str(packed)])
