"""docs/performance.md shows the committed run."""

import json
from pathlib import Path

from benchmarks.speed import report

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
BASELINE = json.loads((ROOT / "benchmarks/speed/baseline.json").read_text(encoding="utf-8"))


def test_every_row_of_the_baseline_is_on_the_page_with_its_date():
    rows = [report.HEAD, *(row for case in BASELINE["cases"] for row in report.rows(case))]
    assert "\n".join(rows) in PAGE
    assert f"On {BASELINE['date']}, " in PAGE
