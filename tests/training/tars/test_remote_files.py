"""Files at addresses: brought whole or not at all, and what goes wrong is one sentence that names the address."""

import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.tars.remote_files import bring, fetch, state_at


class _Forbidding(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_server_that_forbids_is_one_sentence(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Forbidding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/a"
            with pytest.raises(TrainingError, match=r"/a in data\.train cannot be read \(.*403"):
                bring(address, tmp_path / "a", lambda _: None, "data.train")
        finally:
            server.shutdown()
            thread.join()
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_or_changes_on_the_way_gets_no_name(
    in_memory_system: Any, tmp_path: Path
) -> None:
    in_memory_system.pipe_file("/files/a", b"one")

    def refuse(copy: Path) -> None:
        assert copy.read_bytes() == b"one"
        raise TrainingError("No.")

    with pytest.raises(TrainingError, match="No"):
        bring("memory://files/a", tmp_path / "a", refuse, "data.train")
    state = state_at("memory://files/a", "data.train")
    fetch("memory://files/a", state, tmp_path / "b", "data.train")
    in_memory_system.pipe_file("/files/a", b"another")
    with pytest.raises(TrainingError, match="memory://files/a changed meanwhile"):
        fetch("memory://files/a", state, tmp_path / "c", "data.train")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
