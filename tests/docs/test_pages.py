"""Pages are true of the repository: links lead somewhere, what is named is there, numbers are the committed ones."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from davae_core.cli.arguments import parser as davae_parser
from training.__main__ import _parser as training_parser
from training.cache.config import CacheConfig
from training.dit.config import DitTrainingConfig
from training.mini.text_config import TextTrainingConfig
from training.sample.config import SampleConfig
from training.settings.yaml_config import _dotted_names
from training.vae.config import VaeTrainingConfig

ROOT = Path(__file__).parents[2]
PAGES = [
    page.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "benchmarks/*", "benchmarks", "web/docs", "tests/data/golden")
    for page in sorted(ROOT.glob(f"{folder}/*.md"))
]
GUIDES = [page for page in PAGES if page.startswith("docs/") or "/" not in page]
CONFIGS = (VaeTrainingConfig, DitTrainingConfig, CacheConfig, TextTrainingConfig, SampleConfig)
NUMBERS = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: the second of a name ends in -1."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        name, number = slug(heading), 0
        while (anchor := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(anchor)
    return found


def slug(heading: str) -> str:
    """A heading as a part of an address."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_found():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/numbers.md"} <= set(PAGES)
    assert {"benchmarks/miniature/results.md", "web/docs/DAVAE_Decode.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", read(page)):
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.is_file(), f"{page} links to {file}, which is not there"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{file}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page):
    places = r"davae_core|nodes|training|benchmarks|tests|docs|scripts|workflows|configs"
    for name in re.findall(rf"(?<![\w/.])(?:{places})/[\w*./-]*[\w*/]", read(page)):
        inside = f"training/{name}" if name.startswith("configs/") else name
        pattern = inside.rstrip("/").replace("NAME", "*")
        assert list(ROOT.glob(pattern)), f"{page} names {name}, which is not there"


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_run_is_there(page):
    for name in re.findall(r"python -m ([\w.]+)", read(page)):
        if name.partition(".")[0] in ("davae_core", "training", "benchmarks"):
            assert importlib.util.find_spec(name.rstrip(".")), f"{page} runs {name}"


def readme_commands(start: str) -> list[list[str]]:
    """The README's commands that begin so, each less its beginning and the explanation behind two spaces."""
    lines = re.findall(rf"^ {{4}}{start} (.+?)(?: {{2,}}.*)?$", read("README.md"), re.M)
    return [line.split() for line in lines]


def test_every_command_of_the_readme_parses():
    for start, parser in (("davae", davae_parser()), ("python -m training", training_parser())):
        commands = readme_commands(start)
        assert len(commands) >= 4
        for words in commands:
            assert parser.parse_args(words).command == words[0]


def test_every_setting_that_a_page_names_exists():
    known = {name for config in CONFIGS for name in _dotted_names(config, "")}
    sections = {name.partition(".")[0] for name in known}
    for page in GUIDES:
        named = set(re.findall(r"`([a-z_]+(?:\.[a-z0-9_]+)+)[`:=]", read(page)))
        settings = {
            name
            for name in named
            if name.partition(".")[0] in sections and not (name.endswith((".py", ".json")))
        }
        assert not settings - known, page
        assert len(settings) > 15 or page != "docs/training.md"


def third_party(package: str) -> set[str]:
    """The packages that a package of ours imports, itself and the standard library apart."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {package}


@pytest.mark.parametrize("package", ["davae_core", "nodes"])
def test_a_package_imports_what_the_table_of_the_arrows_allows(package):
    (row,) = re.findall(rf"^\| `{package}/` \|[^|]*\|([^|]*)\|", read("CONTRIBUTING.md"), re.M)
    allowed = set(re.findall(r"`(\w+)`", row))
    assert not third_party(package) - allowed


@pytest.mark.parametrize(
    ("heading", "source", "rows"),
    [
        ("The miniature codec", "benchmarks/miniature/results.md", 4),
        ("Pictures from prompts", "benchmarks/drawn/results.md", 4),
        ("What each part of the method is worth", "benchmarks/ablation/results.md", 4),
        ("Stable Diffusion 3.5 Medium's full size", "benchmarks/full_size/results.md", 6),
    ],
)
def test_the_committed_tables_have_the_rows_of_the_page(heading, source, rows):
    section = NUMBERS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    said = [line for line in section.splitlines() if re.match(r"\| .*\d", line)]
    assert len(said) >= rows
    assert not set(said) - set(read(source).splitlines())


def test_the_committed_numbers_are_those_that_the_readme_quotes():
    numbers = read("README.md").partition("## Numbers\n")[2].partition("\n## ")[0]
    quoted = re.findall(r"\d+\.\d+", numbers)
    assert len(quoted) >= 5
    assert not {number for number in quoted if number not in NUMBERS}
