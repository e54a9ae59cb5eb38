"""Help pages and translations say what the nodes really have."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
SNAPSHOT = json.loads((Path(__file__).parent / "schema.json").read_text())
LANGUAGES = ["en", "zh", "ja", "ko", "fr", "de", "es", "ru"]
"""Those that the nodes' names and tooltips are in."""
PAGES = [(name, language) for name in SNAPSHOT for language in ("en", "zh")]
INPUT = {
    "en": r"^- \*\*(\w+)\*\*(?:, on the node \*(.+?)\*)? \((\w+)(?:, default `(.+?)`)?\): \S",
    "zh": r"^- \*\*(\w+)\*\* (.+?)（(\w+)(?:，默认 `(.+?)`)?）：\S",
}
"""An input's bullet: id, name on the node (in English only where it is another), type, default."""
OUTPUT = {
    "en": r"^- \*\*(.+?)\*\*(?: \((\w+)\))?: \S",
    "zh": r"^- \*\*(.+?)\*\*（(\w+)）：\S",
}
"""An output's bullet: name on the node, type (in English only where it is not the name)."""
HEADINGS = {
    "en": ["Inputs", "Outputs", "Example", "Good to know"],
    "zh": ["输入", "输出", "示例", "须知"],
}
TEMPLATES = {"en": "Templates: ", "zh": "模板："}
NO_TEMPLATE = {"en": "No template has this node.", "zh": "没有模板用到本节点。"}
TEMPLATE = re.compile(r"(?<!\*)\*((?:\d\d|SD3\.5 -) [^*]+)\*(?!\*)")
CHOICES = {
    ("DAVAE_Encode", "fit"): ("crop", "pad", "resize"),
    ("DAVAE_Decode", "mode"): ("full", "tiled", "draft", "full and draft"),
    ("DAVAE_EmptyLatent", "size"): ("he model's own",),
    ("DAVAE_Sampler", "scheduler"): ("da-vae",),
}
"""Values that a tooltip explains; the page shows them in English whatever its language."""


def path(name, language):
    """Where ComfyUI's page looks first in this language; the English one is where it looks last."""
    return f"{name}.md" if language == "en" else f"{name}/{language}.md"


def page(name, language):
    return (DOCS / path(name, language)).read_text(encoding="utf-8")


def section(name, language, place):
    """The text under one of HEADINGS."""
    heading = HEADINGS[language][place]
    _, found = page(name, language).split(f"\n## {heading}\n")
    return found.partition("\n## ")[0]


def bullets(name, language, place, pattern):
    """The bullets of a section, all of which must be of this pattern, as groups."""
    text = section(name, language, place)
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^- ", text, re.MULTILINE)), (name, language)
    return found


@cache
def translations(language):
    file = ROOT / "locales" / language / "nodeDefs.json"
    return json.loads(file.read_text(encoding="utf-8"))


def texts(found):
    """Every text in a tree of translations."""
    if isinstance(found, str):
        return [found]
    return [text for value in found.values() for text in texts(value)]


@cache
def templates():
    """Which types of nodes stand in which template, those inside subgraphs among them."""
    found = {}
    for file in (ROOT / "workflows").glob("*.json"):
        graph = json.loads(file.read_text(encoding="utf-8"))
        subgraphs = graph.get("definitions", {}).get("subgraphs", [])
        found[file.stem] = {node["type"] for one in (graph, *subgraphs) for node in one["nodes"]}
    return found


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_the_page_s_inputs_are_the_schema_s(name, language):
    wanted = [
        (entry, kind, str(options.get("default", "")))
        for entry, kind, options in SNAPSHOT[name]["inputs"]
    ]
    found = bullets(name, language, 0, INPUT[language])
    assert [(entry, kind, default) for entry, _, kind, default in found] == wanted
    for entry, shown, *_ in found:
        assert (shown or entry) == translations(language)[name]["inputs"][entry]["name"]


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_the_page_s_outputs_are_the_schema_s(name, language):
    found = bullets(name, language, 1, OUTPUT[language])
    assert [kind or shown for shown, kind in found] == SNAPSHOT[name]["outputs"]
    names = translations(language)[name]["outputs"]
    assert [shown for shown, _ in found] == [entry["name"] for entry in names.values()]


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_a_page_has_its_sections_in_order_and_its_title(name, language):
    text = page(name, language)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS[language]
    assert text.startswith(f"# {translations(language)[name]['display_name']}\n")


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_a_page_has_an_example_with_its_node_in_it(name, language):
    text = section(name, language, 2)
    assert re.search(r"^`[^`\n]+ → [^`\n]+`$", text, re.MULTILINE)
    assert translations(language)[name]["display_name"] in text


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_a_page_names_only_templates_that_its_node_is_in(name, language):
    text = page(name, language)
    named = TEMPLATE.findall(text)
    holding = {stem for stem, kinds in templates().items() if name in kinds}
    assert set(named) <= holding
    assert named == TEMPLATE.findall(page(name, "en"))
    # A page without any says that there is none, and that is so.
    assert (TEMPLATES[language] in text) == bool(named)
    assert (NO_TEMPLATE[language] in text) == (not named) == (not holding)


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_a_page_fits_a_narrow_panel(name, language):
    for line in page(name, language).splitlines():
        assert not line.startswith("|") or line.strip().strip("|").count("|") < 2, line


def test_no_page_is_without_a_node():
    found = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*") if file.is_file()}
    assert found == {path(name, language) for name, language in PAGES}


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_the_server_serves_the_page_where_the_browser_asks_for_it(server, name, language):
    served = server.get(f"/extensions/davae_pack/docs/{path(name, language)}")
    assert served.decode() == page(name, language)


def test_the_page_gets_one_script_of_the_pack_that_writes_and_fetches_nothing(server):
    found = [path for path in server.get_json("/extensions") if "davae" in path]
    assert found == ["/extensions/davae_pack/davae.js"]
    script = server.get(found[0]).decode()
    assert not re.findall(r"innerHTML|eval|fetch\(|https?:|import\((?!\s*\))", script)


def test_the_languages_are_these():
    assert {folder.name for folder in (ROOT / "locales").iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_input_and_output_is_translated(language):
    assert set(translations(language)) == set(SNAPSHOT)
    for name, schema in SNAPSHOT.items():
        entry = translations(language)[name]
        assert set(entry) == {"display_name", "description", "inputs", "outputs"}
        assert entry["display_name"] and entry["description"]
        assert list(entry["inputs"]) == [found[0] for found in schema["inputs"]]
        assert list(entry["outputs"]) == [str(index) for index in range(len(schema["outputs"]))]
        for found in (*entry["inputs"].values(), *entry["outputs"].values()):
            assert set(found) == {"name", "tooltip"} and found["name"] and found["tooltip"]


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_sentence_is_left_in_english(language):
    for name, entry in translations(language).items():
        english = translations("en")[name]
        assert entry["description"] != english["description"], name
        for group in ("inputs", "outputs"):
            for key, found in entry[group].items():
                assert found["tooltip"] != english[group][key]["tooltip"], (name, key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_choices_and_the_pack_s_name_stay_as_the_page_shows_them(language):
    for (name, key), choices in CHOICES.items():
        tooltip = translations(language)[name]["inputs"][key]["tooltip"]
        assert all(choice in tooltip for choice in choices), (name, key)
    # The page's translator takes these characters for its own.
    assert not [text for text in texts(translations(language)) if re.search(r"[@{}|]", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_hands_the_translations_to_the_browser(server, language):
    served = server.get_json("/i18n")[language]["nodeDefs"]
    assert {name: served[name] for name in SNAPSHOT} == translations(language)


def test_the_english_texts_are_the_schema_s_own(server):
    nodes = server.get_json("/object_info")
    for name, entry in translations("en").items():
        info = nodes[name]
        assert entry["display_name"] == info["display_name"]
        assert entry["description"] == info["description"]
        given = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        for key, found in entry["inputs"].items():
            options = given[key][1]
            assert found["tooltip"] == options["tooltip"], (name, key)
            assert found["name"] == options.get("display_name", key), (name, key)
        outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
        found = [(output["name"], output["tooltip"]) for output in entry["outputs"].values()]
        assert found == list(outputs), name
