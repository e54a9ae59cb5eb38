"""Every example of docs/api.md runs against a real server, and what the page says of answers is so."""

import io
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.comfyui import base_directory as files

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
sys.path.insert(0, str(EXAMPLES))
import comfyui_api as comfyui  # noqa: E402


@pytest.fixture
def address(server):
    return f"http://{server.address}"


def graph_of(name="davae_mini", **sampler):
    graph = comfyui.read_workflow(ROOT / "workflows" / "api" / f"{name}.json")
    if sampler:
        comfyui.inputs_of(graph, "DA-VAE Sampler").update(sampler)
    return graph


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_page_names_every_example_and_no_other():
    named = set(re.findall(r"docs/examples/([\w.]+)", PAGE)) | {"comfyui_api.py"}
    assert named == {path.name for path in EXAMPLES.iterdir() if path.is_file()}


def test_a_short_script_draws_many_seeds(address, tmp_path):
    script = EXAMPLES / "twenty_seeds.py"
    code = [line for line in script.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(code) <= 20
    said = run(sys.executable, str(script), address, str(tmp_path / "drawn"), "3")
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == ["seed_00.png", "seed_01.png", "seed_02.png"]
    assert len({path.read_bytes() for path in drawn}) == 3 and "0 to go" in said


def test_a_photograph_goes_through_the_codec(address, tmp_path):
    picture = Image.radial_gradient("L").resize((96, 80)).convert("RGB")
    picture.save(tmp_path / "in.png")
    script = str(EXAMPLES / "photograph.py")
    run(sys.executable, script, address, str(tmp_path / "in.png"), str(tmp_path / "out.png"))
    rebuilt = Image.open(tmp_path / "out.png").convert("RGB")
    assert rebuilt.size == (96, 80)
    assert np.abs(np.asarray(rebuilt, np.float32) - np.asarray(picture, np.float32)).mean() < 16


def test_curl_draws_too(address, tmp_path):
    run("sh", str(EXAMPLES / "draw.sh"), address, str(tmp_path / "picture.png"))
    assert Image.open(tmp_path / "picture.png").size == (256, 256)


def test_the_lines_of_the_page_draw(address, tmp_path, monkeypatch):
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\n"
        + lines.replace("http://127.0.0.1:8188", address).replace(
            "workflows/", f"{ROOT.as_posix()}/workflows/"
        )
    )
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True, timeout=300)
    assert Image.open(next(tmp_path.glob("*.png"))).size == (256, 256)


def test_a_wrong_value_and_a_wrong_file_fail_with_their_sentences(address):
    graph = graph_of(cfg=float("nan"))
    with pytest.raises(
        comfyui.Failed, match="was given nan for cfg: use a number between 0 and 100"
    ):
        comfyui.queue(address, graph)
    with pytest.raises(comfyui.Failed, match="Value 0 smaller than min of 1: steps"):
        comfyui.queue(address, graph_of(steps=0))
    graph = graph_of(steps=1)
    comfyui.inputs_of(graph, "Load DA-VAE")["vae_name"] = files.TRUNCATED
    with pytest.raises(comfyui.Failed, match="is cut short"):
        comfyui.wait(address, comfyui.queue(address, graph))


def test_a_refused_branch_is_a_failure_though_the_answer_is_200(address, server):
    graph = graph_of(steps=1)
    good = dict(graph)
    decode = comfyui.inputs_of(graph, "DA-VAE Decode")
    second = {
        "class_type": "DAVAE_Decode",
        "inputs": {**decode, "mode": "quick"},
        "_meta": {"title": "x"},
    }
    shown = {
        "class_type": "PreviewImage",
        "inputs": {"images": ["100", 0]},
        "_meta": {"title": "y"},
    }
    answer = comfyui.post(address, "/prompt", {"prompt": {**good, "100": second, "101": shown}})
    assert answer["node_errors"]
    comfyui.wait(address, answer["prompt_id"])
    with pytest.raises(comfyui.Failed, match="has no mode 'quick'"):
        comfyui.queue(address, {**graph_of(steps=1, seed=5), "100": second, "101": shown})


def test_an_interrupt_is_told_from_a_failure(address):
    prompt = comfyui.queue(address, graph_of(steps=500, seed=11))

    def stop():
        while comfyui.before(address, prompt) != 0:
            time.sleep(0.1)
        time.sleep(0.5)
        comfyui.interrupt(address)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(comfyui.Interrupted):
        comfyui.wait(address, prompt)
    assert comfyui.before(address, prompt) is None


def test_the_same_seed_gives_the_same_pixels_after_everything_was_unloaded(address):
    found = []
    for seed in (3, 4, 3):
        outputs = comfyui.wait(address, comfyui.queue(address, graph_of(steps=2, seed=seed)))
        ((_, png),) = comfyui.pictures(address, outputs)
        found.append(pixels(png))
        comfyui.post(address, "/free", {"unload_models": True, "free_memory": True})
        time.sleep(1.0)
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])


def test_a_picture_s_own_prompt_holds_is_changed(address):
    outputs = comfyui.wait(address, comfyui.queue(address, graph_of(steps=1, seed=21)))
    ((_, png),) = comfyui.pictures(address, outputs)
    prompt = json.loads(Image.open(io.BytesIO(png)).text["prompt"])
    assert any("is_changed" in node for node in prompt.values())
