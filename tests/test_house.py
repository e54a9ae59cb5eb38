"""What holds for the repository as a whole: the arrows between its packages, and what it looks like from outside."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from davae_core.presets import SD3
from tests.davae_core.lightning.tiny import write_tiny

ROOT = Path(__file__).parents[1]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui"))
COMFYUI_PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)

COMFYUI_INTERNALS = {
    "app", "comfy", "comfy_config", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview",
    "node_helpers", "nodes", "server",
}  # fmt: skip
HEAVY = {
    "accelerate",
    "comfy",
    "diffusers",
    "huggingface_hub",
    "lpips",
    "matplotlib",
    "peft",
    "skimage",
    "sklearn",
    "tokenizers",
    "torch_fidelity",
    "transformers",
    "yaml",
}

ALLOWED = {
    "diffusers_model.py": {"diffusers"},
    "text_encoder.py": {"transformers"},
    "clip_tokenizer.py": {"tokenizers"},
    "inception.py": {"torch_fidelity"},
    "distances.py": {"torch_fidelity"},
    "inception_score.py": {"torch_fidelity"},
    "precision_recall.py": {"torch_fidelity"},
    "clip_similarity.py": {"transformers"},
    "lpips_distance.py": {"lpips"},
    "curves.py": {"matplotlib"},
    "front_matter.py": {"huggingface_hub"},
    "sources.py": {"huggingface_hub"},
}
"""What is other packages' business, each in its files; tests below hold that they are imported only then."""


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Level (0 for absolute) and dotted name of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


def absolute(path: Path) -> set[str]:
    return {name.partition(".")[0] for level, name in imports(path) if level == 0}


def rooms_used(path: Path, package: str) -> set[str]:
    """The rooms of its own package, folders or files at the top, that a file imports from."""
    here = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for level, name in imports(path):
        target = (*here[: len(here) - level], *name.split(".")) if level else tuple(name.split("."))
        if target[0] == package and len(target) > 1:
            found.add(target[1])
    return found


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", python_files("davae_core"), ids=lambda path: path.stem)
def test_the_core_knows_nothing_of_nodes_training_comfyui_or_data_sets(path):
    allowed = ALLOWED.get(path.name, set())
    assert not absolute(path) & (HEAVY - allowed | COMFYUI_INTERNALS | {"comfy_api", "training"})
    inside = path.relative_to(ROOT / "davae_core").parts
    assert all(level <= len(inside) for level, _ in imports(path)), (
        "imports from outside davae_core"
    )


@pytest.mark.parametrize("package", ["davae_core", "nodes"])
def test_the_pack_imports_its_own_files_relatively(package):
    for path in [*python_files(package), ROOT / "__init__.py"]:
        assert "davae_core" not in absolute(path), f"{path} would take another installed davae_core"


def test_only_compat_touches_comfyui_internals():
    for path in python_files("nodes"):
        if path.parent != ROOT / "nodes" / "compat":
            assert not absolute(path) & COMFYUI_INTERNALS, path


def test_nodes_and_training_know_nothing_of_each_other():
    for path in python_files("nodes"):
        assert not any(name.partition(".")[0] == "training" for _, name in imports(path)), path
    for path in python_files("training"):
        assert not absolute(path) & (COMFYUI_INTERNALS | {"comfy_api"}), path


def test_no_node_writes_a_file():
    """What a workflow asks for ends in ComfyUI's own nodes that save."""
    for path in python_files("nodes"):
        for _, name in imports(path):
            assert not name.rpartition(".")[2].startswith(("write", "save", "stream")), path
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Attribute, ast.Name))
        }
        writing = {
            "open",
            "write_bytes",
            "write_text",
            "unlink",
            "rmtree",
            "rename",
            "save_file",
            "mkdir",
        }
        assert not names & writing, path


FLOORS = {
    "davae_core": [
        {"disk", "reading"},
        {"files", "layout", "metrics"},
        {"latents"},
        {"fit", "flow", "format", "images"},
        {"codec", "mini"},
        {"presets"},
        {"transformer"},
        {"lightning"},
        {"published", "inspection", "pipeline"},
        {"evaluation"},
        {"release"},
        {"cli"},
        {"__init__", "__main__"},
    ],
    "training": [
        {"__init__", "errors", "folder_walk"},
        {"hub"},
        {"settings", "pictures", "base_source"},
        {"engine", "tars"},
        {"vae", "cache"},
        {"dit"},
        {"mini", "sample"},
        {"__main__"},
    ],
}
"""Every room, lowest first: a file imports from its own room and from lower floors, never from beside or above."""


@pytest.mark.parametrize("package", FLOORS)
def test_no_room_imports_from_beside_or_above(package):
    floor_of = {
        room: number for number, rooms in enumerate(FLOORS[package]) for room in sorted(rooms)
    }
    for path in python_files(package):
        inside = path.relative_to(ROOT / package).with_suffix("").parts
        for used in rooms_used(path, package) - {inside[0]}:
            assert floor_of[used] < floor_of[inside[0]], f"{path} imports from {used}"


def test_only_the_presets_know_a_models_shift_and_scale():
    numbers = {SD3.layout.base_shift, SD3.layout.base_scale}
    for path in (
        path for package in ("davae_core", "nodes", "training") for path in python_files(package)
    ):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found = {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert (path == ROOT / "davae_core" / "presets.py") == bool(found & numbers), path


def test_stage_2_knows_nothing_of_stage_1():
    for path in python_files("training/dit"):
        assert "vae" not in rooms_used(path, "training"), path


def test_every_room_says_in_one_line_what_it_is():
    for package in ("davae_core", "training"):
        for room in (path.parent for path in (ROOT / package).glob("*/__init__.py")):
            text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
            assert text and "\n" not in text, room


def test_importing_the_core_needs_torch_and_einops_only():
    loaded = json.loads(
        run(
            sys.executable,
            "-c",
            "from davae_core import DetailAlignedVAE\nimport json, sys; print(json.dumps(sorted(sys.modules)))",
        )
    )
    assert "torch" in loaded
    assert not set(loaded) & (HEAVY | {"PIL", "safetensors"})


def test_help_wrong_usage_and_inspecting_import_no_torch(tmp_path):
    """A second each time somebody asks what a command takes or what a file is."""
    mini = ROOT / "davae_core" / "mini"
    asked = [["--help"], ["decode", "--help"], ["merge"], ["inspect", "missing.safetensors"]]
    asked += [["inspect", str(path)] for path in sorted(mini.glob("*.safetensors"))]
    asked.append(["inspect", str(write_tiny(tmp_path / "class_model.safetensors"))])
    code = (
        "import contextlib, json, sys\n"
        "from davae_core.cli.commands import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(arguments)\n"
        "assert not {'torch', 'PIL', 'einops'} & set(sys.modules), arguments\n"
        "print('none of them')\n"
    )
    said = run(sys.executable, "-c", code, json.dumps(asked)).splitlines()
    assert said[-1] == "none of them" and any("DA-VAE" in line for line in said)


@pytest.mark.parametrize(
    "code",
    [
        "import davae_core.pipeline",
        # What ComfyUI needs of a text encoder.
        "from davae_core import mini; from davae_core.mini.text_encoder_files import read_text_encoder_file; "
        "read_text_encoder_file(mini.clip_path())",
    ],
)
def test_text_to_image_imports_its_packages_only_when_called(code):
    loaded = json.loads(
        run(sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(list(sys.modules)))")
    )
    assert not set(loaded) & HEAVY


def test_importing_the_front_door_outside_comfyui_is_harmless(tmp_path):
    outside = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(sorted(name for name in vars(module) if not name.startswith('_')))\n"
    )
    assert "comfy_entrypoint" in run(sys.executable, "-c", outside, cwd=tmp_path)


def test_the_front_door_says_where_the_web_files_are_and_nothing_twice():
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert "comfy_entrypoint" in text and "WEB_DIRECTORY" in text
    assert "NODE_CLASS_MAPPINGS" not in text, "ComfyUI would never call comfy_entrypoint"


def test_the_wheel_installs_the_core_and_the_training_and_no_nodes(tmp_path):
    source = tmp_path / "source"
    left_out = ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "runs", "shared")
    copytree(ROOT, source, ignore=left_out)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(tmp_path), ".", cwd=source)
    (wheel,) = tmp_path.glob("davae-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"davae_core", "training"}
    weights = {path.name for path in (ROOT / "davae_core" / "mini").glob("*.safetensors")}
    assert {Path(name).name for name in names if name.endswith(".safetensors")} == weights
    configs = {path.name for path in (ROOT / "training" / "configs").rglob("*.yaml")}
    assert {Path(name).name for name in names if name.endswith(".yaml")} == configs


def test_comfyui_reads_our_registry_entry():
    script = (
        "import json, sys\n"
        "from comfy_config.config_parser import extract_node_configuration\n"
        "print(extract_node_configuration(sys.argv[1]).model_dump_json())\n"
    )
    found = json.loads(run(COMFYUI_PYTHON, "-c", script, str(ROOT), cwd=COMFYUI).splitlines()[-1])
    project, comfy = found["project"], found["tool_comfy"]
    assert "comfyui" not in project["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["license"]["text"] == "Apache-2.0"
    assert (
        project["urls"]["repository"]
        and project["urls"]["documentation"]
        and project["urls"]["issues"]
    )
    assert project["supported_os"] and project["supported_accelerators"]
    assert comfy["publisher_id"] and comfy["display_name"]
    # ComfyUI would serve the folder twice, once under the project's name.
    assert not comfy["web"]


def test_the_changelog_describes_the_version_in_pyproject():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()
