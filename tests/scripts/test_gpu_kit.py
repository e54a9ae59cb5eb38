"""The kit for a machine with a GPU and no network: what is in it, and what its results become."""

import json
import tarfile

import pytest

from benchmarks.gpu_kit.table import page
from scripts.gpu_kit import LARGEST, ROOT, WHEELS, pack_sources, wheels_of

LOCKS = ROOT / "tests" / "locks"
COMFYUI = ("comfy/ops.py", "comfy/ldm/modules/attention.py", "comfyui_version.py")
UNWANTED = ("comfy/sd1_tokenizer/vocab.json", "models/checkpoints/base.safetensors", "main.py")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """project.tar.xz with a ComfyUI of some files."""
    folder = tmp_path_factory.mktemp("kit")
    for name in (*COMFYUI, *UNWANTED):
        file = folder / "comfyui" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    pack_sources(folder / "project.tar.xz", folder / "comfyui")
    return folder / "project.tar.xz"


def test_the_sources_leave_room_for_the_wheels(sources):
    # The wheels and what is imported of ComfyUI have less than 30 MiB.
    assert sources.stat().st_size < LARGEST // 2


def test_the_kit_has_the_project_and_what_is_imported_of_comfyui(sources):
    with tarfile.open(sources) as archive:
        names = set(archive.getnames())
    assert {f"comfyui/{name}" for name in COMFYUI} <= names
    assert not {f"comfyui/{name}" for name in UNWANTED} & names
    assert {
        "project/davae_core/mini/mini_davae.safetensors",
        "project/training/__main__.py",
        "project/tests/cuda/conftest.py",
        "project/tests/training/dit_fixtures.py",
    } <= names
    assert not any(".git" in name.split("/") for name in names)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_wheel_of_the_kit_is_known_by_its_hash(python):
    found = wheels_of(LOCKS / f"test-linux-x86_64-{python}.txt")
    assert len(found) == len(WHEELS)
    assert all("--hash=sha256:" in line for line in found)


def test_a_python_whose_lock_has_other_packages_is_refused_with_their_names(tmp_path):
    lock = tmp_path / "test-linux-x86_64-3.9.txt"
    lock.write_text("einops==0.8 --hash=sha256:0\n")
    with pytest.raises(SystemExit, match=r"3\.9\.txt lacks accelerate, .*: name another Python"):
        wheels_of(lock)


def way(seconds):
    counted = {"peak_bytes": 3 * 2**20, "weight_bytes": 2_000_000_000, "operations": 10}
    return {"seconds": seconds, "floor_seconds": 0.25, **counted}


def test_results_become_a_page_and_what_is_missing_is_said(tmp_path):
    parts = (("codec", 12, 0), ("pictures", 100, 124), ("miniature", 170, 124))
    (tmp_path / "parts.jsonl").write_text(
        "".join(
            json.dumps({"name": name, "seconds": seconds, "exit": code}) + "\n"
            for name, seconds, code in parts
        )
    )
    case = {"part": "codec", "what": "decode", "side": 1024, "batch": 1, "variant": "channels_last"}
    measured = {
        **case,
        "ways": {"ours": way([0.5, 0.6]), "stock": way([1.0, 1.0])},
        "ratios": {"ours": {"median": 0.55, "least": 0.5, "most": 0.6}},
    }
    results = {
        "date": "2026-11-28",
        "machine": "a machine",
        "device": "a GPU",
        "comfyui": "0.3.75",
        "scale": "On cuda.",
        "rates": {"operations": 7e14, "bytes": 3e12},
        "cases": [measured],
        "failed": [{**case, "error": "out of memory"}],
    }
    (tmp_path / "codec.json").write_text(json.dumps(results))
    step = {"event": "train", "loss": 1.0, "samples_per_second": 50.0}
    log = (
        {**step, "step": 1},
        {**step, "step": 9, "loss": 0.5},
        {"event": "validation", "step": 9},
    )
    (tmp_path / "miniature.jsonl").write_text("\n".join(json.dumps(line) for line in log))
    found = "\n".join(page(tmp_path))
    assert "| pictures | 100 | out of time |" in found
    assert (
        "| decode, channels_last | 1024 | 1 | 0.500 s | 1.000 s | 0.550x | 0.500 to 0.600 | 0.250 s | 3 MB | 3 MB |"
        in found
    )
    assert "| decode, channels_last, ours | 1024 | 1 | 2.00 GB | 3 |" in found
    assert "Failed: decode, 1024, 1, channels_last: out of memory" in found
    assert "## pictures" not in found
    assert "| 9 | 0.5000 | 50 |  |" in found
