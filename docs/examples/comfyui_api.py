"""ComfyUI's HTTP API in a few functions, with Python's standard library alone (docs/api.md).

server = "http://127.0.0.1:8188"
graph = read_workflow("workflows/api/davae_mini.json")
inputs_of(graph, "DA-VAE Sampler")["seed"] = 7
for name, picture in pictures(server, wait(server, queue(server, graph))):
    Path(name).write_bytes(picture)
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path


class Failed(RuntimeError):
    """ComfyUI refused a graph, or a node failed; the message is what it said."""


class Interrupted(RuntimeError):
    """Somebody stopped it."""


def read_workflow(path):
    """A graph of workflows/api: node ids -> {class_type, inputs, _meta}."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def inputs_of(graph, title):
    """The inputs of the node with that title, to be changed; titles are unique and stay the same."""
    (found,) = (node for node in graph.values() if node["_meta"]["title"] == title)
    return found["inputs"]


def upload(server, path):
    """Send a picture; returns the name that Load Image knows it by."""
    border = uuid.uuid4().hex
    head = f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{Path(path).name}"\r\n\r\n'
    body = head.encode() + Path(path).read_bytes() + f"\r\n--{border}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
    request = urllib.request.Request(f"{server}/upload/image", body, kind)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["name"]


def queue(server, graph):
    """Queue a graph; returns its id. Raises Failed with every sentence when a value is wrong."""
    try:
        answer = post(server, "/prompt", {"prompt": graph})
    except urllib.error.HTTPError as error:
        refused = json.load(error)
        raise Failed(
            sentences(refused.get("node_errors")) or refused["error"]["message"]
        ) from error
    if answer["node_errors"]:
        # With 200 ComfyUI runs what is left of the graph, which is not what was asked for.
        post(server, "/queue", {"delete": [answer["prompt_id"]]})
        raise Failed(sentences(answer["node_errors"]))
    return answer["prompt_id"]


def sentences(node_errors):
    """What is wrong with which node, each sentence once; our nodes' own stand after `input - `."""
    told = {
        error["details"].split(" - ", 1)[-1] or error["message"]
        for node in (node_errors or {}).values()
        for error in node["errors"]
    }
    return " ".join(sorted(told))


def wait(server, prompt, every=0.5):
    """Wait for a prompt; returns the outputs of its nodes. Raises Failed or Interrupted."""
    while True:
        finished = get(server, f"/history/{prompt}").get(prompt)
        if finished is not None:
            break
        time.sleep(every)
    for kind, told in finished["status"]["messages"]:
        if kind == "execution_error":
            raise Failed(told["exception_message"].strip())
        if kind == "execution_interrupted":
            raise Interrupted(f"{prompt} was interrupted.")
    return finished["outputs"]


def before(server, prompt):
    """How many prompts are ahead of this one: 0 runs already, None is finished."""
    found = get(server, "/queue")
    ids = [entry[1] for entry in [*found["queue_running"], *sorted(found["queue_pending"])]]
    return ids.index(prompt) if prompt in ids else None


def pictures(server, outputs):
    """The saved pictures of a prompt's outputs: (name, bytes of the PNG)."""
    for node in outputs.values():
        for saved in node.get("images", []):
            if saved["type"] == "output":
                where = urllib.parse.urlencode(saved)
                with urllib.request.urlopen(f"{server}/view?{where}") as answer:
                    yield saved["filename"], answer.read()


def interrupt(server):
    """Stop what runs."""
    post(server, "/interrupt", {})


def get(server, path):
    """JSON of a GET."""
    with urllib.request.urlopen(server + path) as answer:
        return json.load(answer)


def post(server, path, body):
    """JSON answer to a POST of JSON; {} for an empty one."""
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(server + path, json.dumps(body).encode(), kind)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else {}
