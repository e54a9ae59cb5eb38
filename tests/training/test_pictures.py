from pathlib import Path

import pytest
import torch
from PIL import Image

from training.errors import TrainingError
from training.pictures import PictureStore, Unreadable, folders_digest, scan_folders


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
    before = folders_digest(scan_folders([str(pictures / "train")], "data.train"))
    assert before == folders_digest(scan_folders([str(pictures / "train")], "data.train"))
    Image.new("RGB", (8, 8)).save(pictures / "train" / "new.png")
    assert before != folders_digest(scan_folders([str(pictures / "train")], "data.train"))


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
