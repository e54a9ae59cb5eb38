"""A part of a file is read as a file of its own."""

import io
import os
from pathlib import Path

from training.tars.place import Place


def test_a_part_begins_at_its_offset_and_ends_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(bytes(range(100)))
    part = bytes(range(10, 30))
    with Place(path, 10, 20).open() as file:
        assert file.read() == part and file.read(1) == b""
        assert file.seek(5) == 5 and file.read(3) == part[5:8] and file.tell() == 8
        assert file.seek(-4, os.SEEK_END) == 16 and file.read(100) == part[-4:]
        file.seek(2)
        file.seek(3, io.SEEK_CUR)
        assert file.read(2) == part[5:7]
        file.seek(50)
        assert file.read() == b""
