"""A small server that answers the few questions of Hugging Face's client when it downloads files."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40


@dataclass
class Hub:
    """Repositories by name, each a folder; those in `gated` ask for terms; `cut`: bytes after which a line breaks."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    cut: int | None = None
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Let the server run."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
            owner, name, _, revision, *inside = self.path.lstrip("/").split("/")
            repository = f"{owner}/{name}"
            if repository not in hub.repositories:
                return self._refuse(404, "RepoNotFound")
            if repository in hub.gated:
                return self._refuse(403, "GatedRepo")
            if revision not in ("main", COMMIT):
                return self._refuse(404, "RevisionNotFound")
            path = hub.repositories[repository] / "/".join(inside)
            if not path.is_file():
                return self._refuse(404, "EntryNotFound")
            self._send(path.read_bytes(), with_body)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, held: bytes, with_body: bool) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(held).hexdigest()}"')
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(held) - 1}/{len(held)}")
            self.send_header("Content-Length", str(len(held) - start))
            self.end_headers()
            if not with_body:
                return
            if hub.cut is not None and len(held) > hub.cut:
                self.wfile.write(held[start : hub.cut])
                self.close_connection = True
                return
            self.wfile.write(held[start:])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
