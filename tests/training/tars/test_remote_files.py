"""Files at addresses: brought whole or not at all, and what goes wrong is one sentence that names the address."""

import errno
import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.tars.remote_files import bring, bring_once, fetch, files_at, state_at


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


def test_a_folder_at_an_address_is_refused_with_how_to_name_its_files(
    in_memory_system: Any,
) -> None:
    in_memory_system.pipe_file("/files/a.tar", b"one")
    with pytest.raises(TrainingError, match=r"is a folder at an address: .*memory://.*/\*\.tar"):
        files_at(["memory://files"], "data.train")


def test_this_machine_s_own_disk_is_blamed_for_what_it_lacks(
    in_memory_system: Any, tmp_path: Path
) -> None:
    in_memory_system.pipe_file("/files/a", b"one")
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"data\.train cannot be copied to this machine"):
        bring_once("memory://files/a", tmp_path / "file" / "a", lambda _: None, "data.train")


def test_a_full_disk_is_no_fault_of_the_network(
    in_memory_system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    in_memory_system.pipe_file("/files/a", b"one")
    monkeypatch.setattr(type(in_memory_system), "get_file", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*free room on its disk"):
        bring_once("memory://files/a", tmp_path / "a", lambda _: None, "data.train")


def test_what_is_here_is_not_brought_again(in_memory_system: Any, tmp_path: Path) -> None:
    in_memory_system.pipe_file("/files/a", b"one")
    for _ in range(2):
        bring_once("memory://files/a", tmp_path / "room" / "a", lambda _: None, "data.train")
    in_memory_system.rm("/files/a")
    bring_once("memory://files/a", tmp_path / "room" / "a", lambda _: None, "data.train")
    assert (tmp_path / "room" / "a").read_bytes() == b"one"
