"""`davae fetch`: from a folder and from a hub, with Hugging Face's own client against a small server."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from davae_core import mini
from davae_core.cli.commands import main
from davae_core.files import file_hash
from davae_core.release.manifest import MANIFEST, published, write_manifest
from davae_core.release.sources import source_of
from tests.davae_core.release.hub_server import COMMIT, Hub, serve

ROOT = Path(__file__).parents[3]


@pytest.fixture
def comfyui(tmp_path):
    folder = tmp_path / "ComfyUI"
    (folder / "models" / "vae").mkdir(parents=True)
    return folder


@pytest.fixture
def released(tmp_path):
    """A folder as `davae card` lays it out, of the bundled codec and adapter."""
    folder = tmp_path / "released"
    folder.mkdir()
    for path in (mini.davae_path(), mini.adapter_path()):
        (folder / path.name).write_bytes(path.read_bytes())
    write_manifest(folder, [published(path) for path in sorted(folder.glob("*.safetensors"))])
    return folder


@pytest.fixture
def hub(released):
    with serve(Hub({"somebody/mini": released})) as running:
        yield running


def change(released, number=0, **values):
    """Another manifest, whose file `number` is told otherwise."""
    path = released / MANIFEST
    told = json.loads(path.read_text())
    told["files"][number].update(values)
    path.write_text(json.dumps(told))


def command(source, comfyui, *options):
    return main(["fetch", str(source), "--comfyui", str(comfyui), *map(str, options)])


def from_hub(hub, comfyui, *options, repository="somebody/mini", **environment):
    """The command in a process of its own, for Hugging Face's client reads its address when it is imported."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    home = {
        "HF_HOME": str(comfyui / "hf"),
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    words = ["fetch", repository, "--comfyui", str(comfyui), *options]
    done = subprocess.run(
        [sys.executable, "-m", "davae_core", *words],
        cwd=ROOT,
        env={**known, **home, **environment},
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("davae: ")]
    return done.returncode, said[-1] if said else "", done.stdout


def in_place(comfyui):
    return {
        path.relative_to(comfyui / "models").as_posix(): file_hash(path)
        for path in (comfyui / "models").rglob("*")
        if path.is_file()
    }


WANTED = {
    "vae/mini_davae.safetensors": file_hash(mini.davae_path()),
    "loras/mini_adapter.safetensors": file_hash(mini.adapter_path()),
}


def test_a_folders_files_go_where_comfyui_looks_for_them(released, comfyui, capsys):
    assert command(released, comfyui) == 0
    assert in_place(comfyui) == WANTED
    assert capsys.readouterr().out.count(": fetched.") == 2
    times = [path.stat().st_mtime_ns for path in (comfyui / "models").rglob("*.safetensors")]
    assert command(released, comfyui) == 0
    assert capsys.readouterr().out.count("was there already") == 2
    assert times == [
        path.stat().st_mtime_ns for path in (comfyui / "models").rglob("*.safetensors")
    ]
    assert {path.name for path in (comfyui / "models").iterdir()} == {"vae", "loras"}


def test_another_file_of_the_name_stays_unless_it_is_to_be_replaced(released, comfyui, capsys):
    mine = comfyui / "models" / "vae" / "mini_davae.safetensors"
    mine.write_bytes(b"mine")
    assert command(released, comfyui) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is there already and is another file" in error
    assert in_place(comfyui) == {"vae/mini_davae.safetensors": hashlib.sha256(b"mine").hexdigest()}
    assert command(released, comfyui, "--replace") == 0
    assert in_place(comfyui) == WANTED


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "../mini_adapter.safetensors"}, "is no plain name"),
        ({"name": "/tmp/x.safetensors"}, "is no plain name"),
        ({"name": "..\\x.safetensors"}, "is no plain name"),
        ({"name": "evil.pt"}, "is no plain name"),
        ({"name": ".safetensors"}, "is no plain name"),
        ({"name": "nul.safetensors"}, "is no plain name"),
        ({"name": "MINI_DAVAE.safetensors"}, "twice"),
        ({"kind": "custom_nodes"}, "must be one of vae, adapter, merged"),
        ({"kind": "latent"}, "must be one of vae, adapter, merged"),
        ({"kind": "merged"}, "says that it is of the kind adapter, its manifest merged"),
        ({"sha256": "0" * 64}, "size or SHA-256 differ"),
        ({"sha256": "x"}, "the hash of"),
        ({"bytes": 5}, "size or SHA-256 differ"),
        ({"bytes": 10**13}, "free some room"),
        ({"bytes": -1}, "must lie between"),
        ({"folder": "../../custom_nodes"}, "is no key that is known here"),
    ],
)
def test_nothing_that_a_manifest_says_is_believed_before_it_is_checked(
    values, words, released, comfyui, capsys
):
    change(released, 0, **values)
    assert command(released, comfyui) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error, error
    assert not in_place(comfyui)


def test_a_file_of_another_kind_is_thrown_away(released, comfyui, capsys):
    path = released / "mini_adapter.safetensors"
    path.write_bytes(mini.transformer_path().read_bytes())
    change(released, 0, bytes=path.stat().st_size, sha256=file_hash(path))
    assert command(released, comfyui) == 1
    error = capsys.readouterr().err
    assert "mini_adapter.safetensors from" in error and "was thrown away (" in error
    assert not in_place(comfyui)


def test_places_that_are_none_are_named(released, comfyui, tmp_path, capsys):
    for source, target, words in (
        (released, tmp_path, "is no ComfyUI: it has no folder models"),
        (tmp_path / "nowhere", comfyui, "no Hugging Face repository such as owner/name"),
        ("somewhere/a/b", comfyui, "no Hugging Face repository such as owner/name"),
        (comfyui, comfyui, f"holds no {MANIFEST}"),
    ):
        assert command(source, target) == 1
        assert words in capsys.readouterr().err
    assert command(released, comfyui, "--revision", "main") == 1
    assert "which has no revisions" in capsys.readouterr().err
    (released / "mini_davae.safetensors").unlink()
    assert command(released, comfyui) == 1
    assert "lacks mini_davae.safetensors" in capsys.readouterr().err
    assert source_of("owner/name", None).name == "owner/name"


def test_a_repository_is_fetched_by_hugging_faces_own_client(hub, comfyui):
    code, error, out = from_hub(hub, comfyui)
    assert (code, error) == (0, "") and out.count(": fetched.") == 2
    assert in_place(comfyui) == WANTED
    assert {path.name for path in (comfyui / "models").iterdir()} == {"vae", "loras"}
    weights = [line for line in hub.asked if line.startswith("GET") and "safetensors" in line]
    assert len(weights) == 2
    assert f"GET /somebody/mini/resolve/{COMMIT}/{MANIFEST}" in hub.asked
    hub.asked.clear()
    code, _, out = from_hub(hub, comfyui, "--revision", COMMIT)
    assert code == 0 and out.count("was there already") == 2
    assert not [line for line in hub.asked if "safetensors" in line]


def test_a_broken_download_goes_on_where_it_was(hub, released, comfyui):
    whole = (released / "mini_adapter.safetensors").stat().st_size
    hub.cut = whole // 2
    code, error, _ = from_hub(hub, comfyui)
    assert code == 1 and "check the network, then run this again" in error, error
    # What is there so far lies in a folder of its own, and under no name that ComfyUI lists.
    assert not [name for name in in_place(comfyui) if name.endswith(".safetensors")]
    # The client hands on ten megabytes at a time, so a file as small as this one leaves nothing by itself.
    (part,) = (comfyui / "models").rglob("*.part")
    part.write_bytes((released / "mini_adapter.safetensors").read_bytes()[: whole // 2])
    hub.cut = None
    hub.asked.clear()
    assert from_hub(hub, comfyui)[0] == 0
    assert in_place(comfyui) == WANTED
    ranges = [int(found[1]) for line in hub.asked if (found := re.search(r"bytes=(\d+)-", line))]
    assert ranges == [whole // 2]


@pytest.mark.parametrize(
    ("repository", "options", "words"),
    [
        ("somebody/nothing", (), "There is no repository somebody/nothing"),
        ("somebody/gated", (), "is gated: accept its terms"),
        ("somebody/mini", ("--revision", "v9"), "has no revision v9"),
        ("somebody/empty", (), f"holds no {MANIFEST}"),
    ],
)
def test_what_a_hub_refuses_is_one_sentence(repository, options, words, hub, comfyui, tmp_path):
    (tmp_path / "empty").mkdir()
    hub.repositories |= {"somebody/gated": tmp_path, "somebody/empty": tmp_path / "empty"}
    hub.gated.add("somebody/gated")
    code, error, _ = from_hub(hub, comfyui, *options, repository=repository)
    assert code == 1 and words in error and error.endswith("."), error
    assert not in_place(comfyui)


def test_no_network_is_one_sentence(hub, comfyui):
    nowhere = Hub({}, address="http://127.0.0.1:9")
    code, error, _ = from_hub(nowhere, comfyui)
    assert code == 1 and "cannot be reached for somebody/mini: check the network" in error, error
    code, error, _ = from_hub(hub, comfyui, HF_HUB_OFFLINE="1")
    assert code == 1 and "while HF_HUB_OFFLINE is set" in error, error


def test_a_hub_that_has_another_file_than_told_is_found_out(hub, released, comfyui):
    path = released / "mini_adapter.safetensors"
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    code, error, _ = from_hub(hub, comfyui)
    assert code == 1 and "size or SHA-256 differ), so it was thrown away" in error, error
    assert not [name for name in in_place(comfyui) if name.endswith(".safetensors")]
    path.write_bytes(held + bytes(1000))
    hub.asked.clear()
    code, error, _ = from_hub(hub, comfyui)
    assert code == 1 and "bytes and its davae_manifest.json says" in error, error
    assert not [line for line in hub.asked if line.startswith("GET") and "adapter" in line]
