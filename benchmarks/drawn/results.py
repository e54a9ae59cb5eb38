"""What `python -m benchmarks.drawn` finds, its file and its table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.ablation.measuring import Measures
from davae_core.files import write_text

JOINT, DETAIL, BASE = "joint", "detail", "base_enlarged"
CODEC, REAL = "real_through_codec", "real"
TITLES = {
    JOINT: "base and detail together (joint adapter)",
    DETAIL: "detail pass on the untouched model's base",
    BASE: "that base alone, enlarged",
    CODEC: "real pictures through the codec",
    REAL: "real pictures",
}
_HEADINGS = (
    "speckle",
    "beside the codec's",
    "edges",
    "grain",
    "lines beside the base's",
    "captions",
    "captions, no guidance",
    "Fréchet distance",
    "score",
    "score, no guidance",
)


@dataclass(frozen=True)
class Row:
    """One way's measures; `plain` are those without guidance, None where there was nothing to guide."""

    found: Measures
    plain: Measures | None = None


@dataclass(frozen=True)
class Drawn:
    """Every way's row over so many captions, drawn under `guidance`."""

    pictures: int
    guidance: float
    rows: dict[str, Row]


def as_markdown(drawn: Drawn) -> str:
    """The table under lines that say what it shows."""
    lines = ["| | " + " | ".join(_HEADINGS) + " |", "|---" * (len(_HEADINGS) + 1) + "|"]
    lines += [
        f"| {TITLES[name]} | " + " | ".join(_cells(drawn, row)) + " |"
        for name, row in drawn.rows.items()
    ]
    return (
        "# What the miniature draws, judged as an eye would\n\n"
        f"Written by `python -m benchmarks.drawn`: {drawn.pictures} captions that no training has seen, guidance "
        f"{drawn.guidance:g} (of a detail\npass: on its base). Speckle is in levels of 255 on flat surfaces, edges in "
        "pixels off the outline that fits, grain in octaves\nof energy off real pictures', lines in fine energy on "
        "hatching, letters and stripes; the score adds speckle, edges and\ngrain up, with an octave for each tenth of "
        "the captions missed: 0 is real. The Fréchet distance rewards grain and "
        "must not judge alone.\n\n" + "\n".join(lines) + "\n"
    )


def write_drawn(path: Path, drawn: Drawn) -> None:
    """Write all of it as JSON."""
    write_text(path, json.dumps(asdict(drawn), indent=1) + "\n")


def read_drawn(path: Path) -> Drawn:
    """What `write_drawn` wrote."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        name: Row(Measures(**row["found"]), row["plain"] and Measures(**row["plain"]))
        for name, row in whole["rows"].items()
    }
    return Drawn(whole["pictures"], whole["guidance"], rows)


def _cells(drawn: Drawn, row: Row) -> list[str]:
    found, plain, rows = row.found, row.plain, drawn.rows
    assert found.speckle is not None and found.edges is not None
    assert found.grain is not None and found.score is not None
    codec_speckle = rows[CODEC].found.speckle
    assert codec_speckle is not None
    return [
        f"{found.speckle:.2f}",
        f"{found.speckle / codec_speckle:.2f}",
        f"{found.edges:.2f}",
        f"{found.grain:.2f}",
        f"{_lines(found) / _lines(rows[BASE].found):.2f}",
        f"{found.prompt_accuracy:.3f}",
        "" if plain is None else f"{plain.prompt_accuracy:.3f}",
        f"{max(0.0, found.fd):.1f}",
        f"{found.score:.2f}",
        "" if plain is None else f"{plain.score:.2f}",
    ]


def _lines(found: Measures) -> float:
    assert found.lines is not None
    return found.lines
