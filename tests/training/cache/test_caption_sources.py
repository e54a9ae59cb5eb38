"""Captioned pictures from folders and WebDataset shards, and what is said of broken ones."""

import io
import json
import os
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
    assert [p.read_captions("prompt")[0] for p in found.pictures] == ["a red picture", "a blue one"]
    assert found.pictures[0].read_picture().shape == (3, 6, 8)


def test_tar_shards_give_the_same_as_folders(tmp_path):
    shard = tar_with(
        tmp_path / "set-000.tar",
        {"x/1.png": png("red"), "x/1.txt": b"one", "x/2.png": png("blue"),
         "x/2.json": b'{"prompt": "two"}', "x/3.png": png("green"), "x/4.txt": b"alone"},
    )  # fmt: skip
    found = scan_captioned([], [str(tmp_path / "set-*.tar")])
    assert [part.name for part in found.pictures] == ["set-000.tar/x/1.png", "set-000.tar/x/2.png"]
    assert [p.read_captions("prompt")[0] for p in found.pictures] == ["one", "two"]
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
        picture.read_captions("prompt")


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
        picture.read_captions("caption")


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


def named(folder):
    return [part.name for part in scan_captioned([str(folder)], []).pictures]


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".txt", b"\xef\xbb\xbfa red circle\r\n"),
        (".json", b'\xef\xbb\xbf{"prompt": "a red circle"}'),
        (".json", '{"prompt": "\ufeffa red circle"}'.encode()),
        (".caption", b"a red circle"),
        (".TXT", b"a red circle"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_caption_is_its_words_without_a_byte_order_mark(tmp_path, suffix, data, packed):
    if packed:
        tar_with(tmp_path / "set.tar", {"a.png": png("red"), f"a{suffix}": data})
        found = scan_captioned([], [str(tmp_path / "set.tar")])
    else:
        (tmp_path / "a.png").write_bytes(png("red")), (tmp_path / f"a{suffix}").write_bytes(data)
        found = scan_captioned([str(tmp_path)], [])
    assert [picture.read_captions("prompt")[0] for picture in found.pictures] == ["a red circle"]


@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [
        (".txt", "a cat".encode("utf-16-le"), "is no text in UTF-8: mend"),
        (".json", b'{"prompt": "a\\u0000cat"}', "is no text in UTF-8 or no JSON"),
        (".txt", b"", r"The caption of 0/a\.png is empty: write one"),
        (".txt", b"\xef\xbb\xbf \r\n", "is empty"),
        (".json", b'{"prompt": " "}', "is empty"),
    ],
)
def test_a_caption_without_words_or_with_nul_is_none(tmp_path, suffix, data, message):
    (tmp_path / "a.png").write_bytes(png("red")), (tmp_path / f"a{suffix}").write_bytes(data)
    (picture,) = scan_captioned([str(tmp_path)], []).pictures
    with pytest.raises(TrainingError, match=message):
        picture.read_captions("prompt")


def test_a_caption_is_found_however_its_accents_and_suffix_are_written(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    for picture, caption in ((apart, composed + ".txt"), ("b", "b.TXT"), ("c.1", "c.1.Json")):
        (tmp_path / f"{picture}.png").write_bytes(png("red"))
        (tmp_path / caption).write_text('{"prompt": "x"}', encoding="utf-8")
    assert named(tmp_path) == ["0/b.png", "0/c.1.png", f"0/{apart}.png"]
    # Where there are two, the one written alike.
    (tmp_path / f"{apart}.txt").write_text("its own", encoding="utf-8")
    (tmp_path / "b.txt").write_text("its own", encoding="utf-8")
    found = scan_captioned([str(tmp_path)], []).pictures
    assert [part.read_captions("prompt")[0] for part in found] == ["its own", "x", "its own"]


def test_a_name_that_is_no_utf8_is_cached_under_a_spelling(tmp_path):
    for name, data in ((b"caf\xe9.png", png("red")), (b"caf\xe9.txt", b"a cafe")):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(data)
    found = scan_captioned([str(tmp_path)], [])
    assert found.pictures[0].name == "0/caf\\xe9.png" and found.digest
    assert found.pictures[0].read_captions("prompt")[0] == "a cafe"
    assert found.pictures[0].read_picture().shape == (3, 6, 8)


def test_names_with_dots_in_a_tar_are_whole_names(tmp_path):
    tar_with(
        tmp_path / "set.tar",
        {"img_v1.5_a.png": png("red"), "img_v1.5_a.txt": b"a", "img_v1.5_b.png": png("red"),
         "0.jpg": png("red"), "0.txt": b"zero", "0.mask.png": png("red")},
    )  # fmt: skip
    found = scan_captioned([], [str(tmp_path / "set.tar")])
    assert [part.name for part in found.pictures] == ["set.tar/0.jpg", "set.tar/img_v1.5_a.png"]
    assert found.uncaptioned == ("set.tar/img_v1.5_b.png",)
    assert [part.read_captions("prompt")[0] for part in found.pictures] == ["zero", "a"]


def test_system_files_in_a_tar_are_passed_over_and_other_formats_counted(tmp_path, caplog):
    tar_with(
        tmp_path / "set.tar",
        {"./a.png": png("red"), "./a.txt": b"a", "./._a.png": b"x", "__MACOSX/a.png": png("red"),
         ".ipynb_checkpoints/a.png": png("red"), "b.avif": b"x", "b.txt": b"b"},
    )  # fmt: skip
    found = scan_captioned([], [str(tmp_path / "set.tar")])
    assert [part.name for part in found.pictures] == ["set.tar/a.png"]
    assert found.uncaptioned == ()
    (line,) = caplog.messages
    assert "set.tar, where" in line and "(1 .avif), the first is b.avif" in line


def test_tar_files_without_pictures_are_said_to_have_none(tmp_path):
    tar_with(tmp_path / "set.tar", {"a.txt": b"a"})
    with pytest.raises(TrainingError, match=r"source\.shards hold no picture"):
        scan_captioned([], [str(tmp_path / "set.tar")])
