import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.errors import TrainingError
from training.pictures import PictureStore, Unreadable, scan_folders, sets_digest, spelled


def test_folders_are_searched_recursively_and_captions_ignored(pictures: Path) -> None:
    inner = pictures / "train" / "a" / "b"
    inner.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(inner / "deep.JPG", format="JPEG")
    (inner / "deep.txt").write_text("a caption")
    (folder,) = scan_folders([str(pictures / "train")], "data.train")
    assert len(folder.paths) == 8
    assert inner / "deep.JPG" in folder.paths


def test_a_missing_or_empty_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"data\.train names .*nowhere, which is not a folder"):
        scan_folders([str(tmp_path / "nowhere")], "data.train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=r"validation\.folders names .*holds no picture"):
        scan_folders([str(tmp_path / "empty")], "validation.folders")


def test_the_digest_tells_whether_the_pictures_are_the_same(pictures: Path) -> None:
    before = sets_digest(scan_folders([str(pictures / "train")], "data.train"))
    assert before == sets_digest(scan_folders([str(pictures / "train")], "data.train"))
    Image.new("RGB", (8, 8)).save(pictures / "train" / "new.png")
    assert before != sets_digest(scan_folders([str(pictures / "train")], "data.train"))


def test_pictures_are_read_as_bytes_exactly(tmp_path: Path) -> None:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.png")
    found = PictureStore(cache_mb=0).read(tmp_path / "a.png")
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.uint8
    assert found[1, :, 7].tolist() == list(range(256))


def test_a_cached_picture_is_read_from_disk_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    kept, reread = PictureStore(cache_mb=1), PictureStore(cache_mb=0)
    kept.read(path), reread.read(path)
    path.unlink()
    assert isinstance(kept.read(path), torch.Tensor)
    assert isinstance(reread.read(path), Unreadable)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_damaged_file_is_reported_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.png"
    path.write_bytes(content)
    found = PictureStore(cache_mb=0).read(path)
    assert isinstance(found, Unreadable)
    assert "damaged.png" in found.reason


def scanned(folder: Path) -> list[str]:
    (found,) = scan_folders([str(folder)], "data.train")
    return [path.relative_to(folder).as_posix() for path in found.paths]


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, format="PNG")
    return path


@pytest.mark.parametrize(
    "name",
    ["._a.png", ".hidden/a.png", ".ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png/T.jpg",
     "__MACOSX/a.png", "deep/$RECYCLE.BIN/a.png", "lost+found/a.png"],
)  # fmt: skip
def test_hidden_and_system_files_are_no_pictures_of_the_user(tmp_path: Path, name: str) -> None:
    # The folder that the user names may be hidden.
    folder = tmp_path / ".cache"
    save(folder / "a.png"), save(folder / name)
    assert scanned(folder) == ["a.png"]


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save(folder / "own" / "a.png"), save(tmp_path / "elsewhere" / "deep" / "b.png")
    (folder / "again").symlink_to(folder / "own")
    (folder / "loop").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    assert scanned(folder) == ["more/deep/b.png", "own/a.png"]
    # A set that is nothing but links.
    links = tmp_path / "links"
    links.mkdir()
    (links / "x").symlink_to(tmp_path / "elsewhere" / "deep")
    assert scanned(links) == ["x/b.png"]


def test_pictures_of_other_formats_are_counted_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.jfif")
    for name in ("b.avif", "c.GIF", "d.gif"):
        (tmp_path / name).write_bytes(b"x")
    assert scanned(tmp_path) == ["a.jfif"]
    (line,) = caplog.messages
    assert "passed over (1 .avif, 2 .gif), the first is" in line and "b.avif" in line


def test_a_name_that_is_no_utf8_is_a_name(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    save(path)
    folders = scan_folders([str(tmp_path)], "data.train")
    assert sets_digest(folders)
    assert spelled(folders[0].paths[0].name) == "caf\\xe9.png"
    assert isinstance(PictureStore(cache_mb=0).read(path), torch.Tensor)
