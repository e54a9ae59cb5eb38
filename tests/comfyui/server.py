"""A real ComfyUI server for the tests: where it is, how it is started, how a graph is run on it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import websocket
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
PACK = "davae_pack"
START_SECONDS, RUN_SECONDS = 600, 600

Graph = dict[str, dict[str, Any]]


def comfyui_tree() -> Path:
    """ComfyUI's folder; the test fails with a sentence when there is none."""
    tree = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).absolute()
    if not (tree / "main.py").is_file():
        pytest.fail(
            f"There is no ComfyUI in {tree}: run `make test`, which puts one there, or set COMFYUI_PATH to a "
            "ComfyUI folder and COMFYUI_PYTHON to its Python.",
            pytrace=False,
        )
    return tree


def comfyui_python() -> str:
    """The Python that ComfyUI runs in."""
    return os.environ.get("COMFYUI_PYTHON", sys.executable)


def environment() -> dict[str, str]:
    """One thread per process: the tests' machine is small, and results do not depend on its size."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}


@dataclass
class Result:
    """What became of a graph: outputs by node id, or the sentence of the node that failed, or why it was refused."""

    outputs: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    interrupted: bool = False
    refused: dict[str, Any] | None = None
    previews: list[Image.Image] = field(default_factory=list)
    binary: set[int] = field(default_factory=set)
    """The kinds of binary frames that came: 1 is a preview, 3 a node's text."""

    @property
    def sentence(self) -> str:
        """The failing node's message, before or after it was started; the test fails when nothing failed."""
        if self.refused is not None:
            told = [
                one["details"]
                for node in self.refused["node_errors"].values()
                for one in node["errors"]
            ]
            # `input - sentence` is how ComfyUI gives on what a node's own check says.
            return next(details.partition(" - ")[2] for details in told if " - " in details)
        assert self.error is not None, f"no node failed: {self}"
        return str(self.error["exception_message"]).strip()


class Server:
    """One running ComfyUI with this repository as its only custom node pack."""

    def __init__(self, base: Path, flags: tuple[str, ...] = ()) -> None:
        self.base = base
        self.flags = flags
        self.log = base / "server.log"
        self.address = f"127.0.0.1:{_free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; the test fails with the end of its log when it does not."""
        command = [comfyui_python(), "main.py", "--cpu", "--base-directory", str(self.base)]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK]
        command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        command += ["--preview-method", "latent2rgb"]
        command += ["--listen", "127.0.0.1", "--port", self.address.partition(":")[2]]
        command += self.flags
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=comfyui_tree(), stdout=log, stderr=log, env=environment()
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except urllib.error.URLError:
                time.sleep(0.3)
        self.stop()
        pytest.fail(f"ComfyUI did not start:\n{self.read_log()[-4000:]}", pytrace=False)

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def read_log(self) -> str:
        """Everything the server has written so far."""
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> bytes:
        """Body of a GET request."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return answer.read()  # type: ignore[no-any-return]

    def get_json(self, path: str) -> Any:
        """JSON of a GET request."""
        return json.loads(self.get(path))

    def post(self, path: str, body: object) -> Any:
        """JSON answer to a POST of JSON; {} for an empty answer. Raises urllib.error.HTTPError."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.address}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def upload(self, image: Image.Image | bytes, name: str) -> str:
        """Upload a picture as the browser does and return the name LoadImage knows it by."""
        if isinstance(image, Image.Image):
            buffer = BytesIO()
            image.save(buffer, format="PNG")
            image = buffer.getvalue()
        border = uuid.uuid4().hex
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        tail = (
            f'\r\n--{border}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue'
            f"\r\n--{border}--\r\n"
        )
        request = urllib.request.Request(
            f"http://{self.address}/upload/image",
            head.encode() + image + tail.encode(),
            {"Content-Type": f"multipart/form-data; boundary={border}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.loads(answer.read())["name"])

    def run(self, graph: Graph, interrupt_at: str | None = None) -> Result:
        """Run a graph in API format to its end; interrupt it at the first progress of node `interrupt_at`."""
        client = uuid.uuid4().hex
        events = websocket.create_connection(
            f"ws://{self.address}/ws?clientId={client}", timeout=RUN_SECONDS
        )
        try:
            try:
                prompt = self.post("/prompt", {"prompt": graph, "client_id": client})["prompt_id"]
            except urllib.error.HTTPError as error:
                return Result(refused=json.loads(error.read()))
            return self._follow(events, prompt, interrupt_at)
        finally:
            events.close()

    def _follow(self, events: websocket.WebSocket, prompt: str, interrupt_at: str | None) -> Result:
        previews: list[Image.Image] = []
        binary: set[int] = set()
        while True:
            message = events.recv()
            if isinstance(message, bytes):
                previews += preview_in(message)
                binary.add(int.from_bytes(message[:4], "big"))
                continue
            event = json.loads(message)
            kind, data = event["type"], event["data"]
            if data.get("prompt_id") != prompt:
                continue
            if kind == "progress" and data.get("node") == interrupt_at:
                self.post("/interrupt", {})
            if kind == "execution_error":
                return Result(error=data)
            if kind == "execution_interrupted":
                return Result(interrupted=True)
            if kind == "execution_success":
                return Result(outputs=self._outputs(prompt), previews=previews, binary=binary)

    def _outputs(self, prompt: str) -> dict[str, Any]:
        """The history is written after the last event, hence the waiting."""
        for _ in range(100):
            history = self.get_json(f"/history/{prompt}")
            if prompt in history:
                return dict(history[prompt]["outputs"])
            time.sleep(0.1)
        raise AssertionError(f"the server never wrote the history of {prompt}")

    def draw(self, graph: Graph, *sampled: str) -> list[Tensor]:
        """Run a graph and return the latents [B, C, h, w] of these nodes' first outputs; fails when it fails."""
        kept = {
            f"keep_{name}": {
                "class_type": "SaveLatent",
                "inputs": {"samples": [name, 0], "filename_prefix": f"{uuid.uuid4().hex}_{name}"},
            }
            for name in sampled
        }
        result = self.run({**graph, **kept})
        assert result.error is None and result.refused is None, result
        return [
            self._latents(kept[f"keep_{name}"]["inputs"]["filename_prefix"]) for name in sampled
        ]

    def _latents(self, prefix: str) -> Tensor:
        (saved,) = (self.base / "output").glob(f"{prefix}_*.latent")
        return load_file(saved)["latent_tensor"]

    def picture(self, outputs: dict[str, Any], node: str, index: int = 0) -> Image.Image:
        """A picture that a Save Image or Preview Image node made, fetched over HTTP."""
        where = urllib.parse.urlencode(outputs[node]["images"][index])
        return Image.open(BytesIO(self.get(f"/view?{where}")))


def preview_in(message: bytes) -> list[Image.Image]:
    """The picture of a binary event of type 1: two big-endian numbers, then a JPEG; none in other events."""
    if int.from_bytes(message[:4], "big") != 1:
        return []
    return [Image.open(BytesIO(message[8:]))]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
