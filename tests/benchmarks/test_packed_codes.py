"""The closed forms' numbers on the page are those that the command gives."""

import re
from pathlib import Path

import pytest

from benchmarks.miniature import packed_codes

PAGE = Path(__file__).parents[2] / "docs" / "numbers.md"


def said() -> dict[str, float]:
    section = (
        PAGE.read_text(encoding="utf-8").partition("## Packed detail\n")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \(", section, re.M)
    return {name: float(psnr) for name, psnr in rows}


def test_the_page_has_every_row():
    assert said().keys() == packed_codes.rows().keys()


@pytest.mark.parametrize("row", ["packed, D = 16", "packed, D = 64"])
def test_packed_codecs_have_the_numbers_of_the_page(row):
    found = packed_codes.measure(packed_codes.rows()[row]())
    assert found.mean_psnr == pytest.approx(said()[row], abs=0.05)
