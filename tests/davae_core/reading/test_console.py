"""Output that its code page cannot hold."""

import io

from davae_core.cli.commands import main
from davae_core.reading.console import take_any_character


def test_what_a_code_page_lacks_is_written_by_its_number():
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="cp1252")
    take_any_character((narrow, io.StringIO()))
    narrow.write("é ж\n"), narrow.flush()
    assert raw.getvalue().strip() == b"\xe9 \\u0436"


def test_a_command_that_did_its_work_says_so_on_any_code_page(tmp_path, monkeypatch):
    from davae_core import mini

    path = tmp_path / "ж.safetensors"
    path.write_bytes(mini.clip_path().read_bytes())
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="cp1252", write_through=True)
    monkeypatch.setattr("sys.stdout", narrow)
    assert main(["inspect", str(path)]) == 0
    assert b"\\u0436" in raw.getvalue()
