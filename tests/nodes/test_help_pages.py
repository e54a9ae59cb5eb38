"""Help pages and translations say what the nodes really have."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNAPSHOT = json.loads((Path(__file__).parent / "schema.json").read_text())
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| .+ \|$", re.MULTILINE)


def parameters(name):
    """Rows of a page's table of inputs: name, type, default."""
    text = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return [list(row) for row in ROW.findall(text)]


@pytest.mark.parametrize("name", SNAPSHOT)
def test_the_table_of_inputs_is_the_schema(name):
    wanted = []
    for entry, kind, options in SNAPSHOT[name]["inputs"]:
        default = f"`{options['default']}`" if "default" in options else ""
        wanted.append([entry, kind, default])
    assert parameters(name) == wanted


def test_no_page_is_without_a_node():
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == set(SNAPSHOT)


@pytest.mark.parametrize("name", SNAPSHOT)
def test_the_server_serves_the_page_where_the_browser_asks_for_it(server, name):
    page = server.get(f"/extensions/davae_pack/docs/{name}.md").decode()
    assert page.startswith("# ")


def test_the_page_gets_one_script_of_the_pack_that_only_shows_sentences(server):
    found = [path for path in server.get_json("/extensions") if "davae" in path]
    assert found == ["/extensions/davae_pack/davae.js"]
    script = server.get(found[0]).decode()
    assert not re.findall(r"innerHTML|eval|fetch\(|https?:|import\((?!\s*\))", script)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_node_input_and_output_is_translated(server, language):
    translated = server.get_json("/i18n")[language]["nodeDefs"]
    for name, schema in SNAPSHOT.items():
        entry = translated[name]
        assert entry["display_name"] and entry["description"]
        assert list(entry["inputs"]) == [found[0] for found in schema["inputs"]]
        assert all(found["name"] and found["tooltip"] for found in entry["inputs"].values())
        assert all(entry["outputs"][str(index)]["name"] for index in range(len(schema["outputs"])))


def test_the_english_texts_are_the_schema_s_own(server):
    translated = server.get_json("/i18n")["en"]["nodeDefs"]
    nodes = server.get_json("/object_info")
    for name in SNAPSHOT:
        info, entry = nodes[name], translated[name]
        assert entry["display_name"] == info["display_name"]
        assert entry["description"] == info["description"]
        for given, (_, options) in info["input"]["required"].items():
            assert entry["inputs"][given]["tooltip"] == options["tooltip"], (name, given)
