"""The command that judges the bundled miniature, on a handful of captions and a detail adapter that draws nothing."""

from dataclasses import replace

import pytest

from benchmarks.ablation.measuring import Measures
from benchmarks.drawn.__main__ import main
from benchmarks.drawn.results import (
    BASE,
    CODEC,
    DETAIL,
    JOINT,
    REAL,
    Drawn,
    Row,
    as_markdown,
    read_drawn,
)
from davae_core.mini import adapter_path
from davae_core.transformer.adapter import read_adapter, write_adapter
from davae_core.transformer.description import Advice

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detail_adapter(tmp_path_factory):
    """The joint adapter's weights, said to draw the detail alone."""
    advice = Advice(shift=3.0, guidance=1.0, steps=2)
    path = tmp_path_factory.mktemp("detail") / "detail.safetensors"
    write_adapter(path, replace(read_adapter(adapter_path()), mode="detail", advice=advice))
    return path


def test_the_miniature_is_judged_in_every_way_beside_real_pictures(
    tmp_path, capsys, detail_adapter
):
    wanted = ["--pictures", "2", "--to", str(tmp_path), "--detail-adapter", str(detail_adapter)]
    assert main(wanted) == 0
    found = read_drawn(tmp_path / "results.json")
    assert list(found.rows) == [JOINT, DETAIL, BASE, CODEC, REAL]
    assert found.rows[REAL].found.score == 0.0 < found.rows[CODEC].found.score
    assert found.rows[CODEC].found.codec_score == 0.0
    assert found.rows[BASE].found.sharpness < found.rows[JOINT].found.sharpness < 1.0
    assert (tmp_path / "results.md").read_text() == as_markdown(found) == capsys.readouterr().out


def test_a_detail_adapter_that_is_not_there_is_named(tmp_path, capsys):
    wanted = ["--pictures", "2", "--to", str(tmp_path), "--detail-adapter", str(tmp_path / "none")]
    assert main(wanted) == 1
    assert "none" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_table_sets_speckle_beside_the_codecs_and_lines_beside_the_bases():
    def row(speckle, lines, plain=None):
        return Row(Measures(90.0, 0.95, 0.1, speckle, 0.5, 0.25, lines, 1.5, 1.0), plain)

    plain = Measures(99.0, 0.9, 0.1, 4.0, 0.6, 0.3, 0.02, 2.5, 2.0)
    rows = {DETAIL: row(3.0, 0.02, plain), BASE: row(1.0, 0.01), CODEC: row(2.0, 0.03)}
    table = as_markdown(Drawn(7, 2.5, rows))
    assert "7 captions" in table
    cells = "3.00 | 1.50 | 0.50 | 0.25 | 2.00 | 0.950 | 0.900 | 90.0 | 1.50 | 2.50 |"
    assert cells in table
