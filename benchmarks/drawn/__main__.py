"""Judge what the bundled miniature draws: ``python -m benchmarks.drawn``.

Draws scenes that no training has seen in every way there is, with and without guidance, and judges speckle, outlines,
grain and captions beside real pictures. Writes results.json and results.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from benchmarks.ablation.measuring import Measures, Seen, look, measures, rendered, scenes
from benchmarks.prompt_accuracy import FIRST_SCENE
from davae_core import mini
from davae_core.cli.demo import bundled_pipeline
from davae_core.files import CheckpointError, write_text
from training.errors import sentence_of
from training.mini.prompt_scenes import PromptScene, caption

from .results import BASE, CODEC, DETAIL, JOINT, REAL, Drawn, Row, as_markdown, write_drawn
from .ways import base_enlarged, detail_pass, joint, through_codec

HERE = Path(__file__).parent
GUIDANCE = 2.5


def judge(pictures: int, detail_adapter: Path) -> Drawn:
    """Draw and judge so many scenes. Raises CheckpointError when a file of the miniature is missing."""
    wanted = scenes(FIRST_SCENE, pictures)
    together, apart = (bundled_pipeline(path) for path in (mini.adapter_path(), detail_adapter))
    captions = [caption(scene) for scene in wanted]
    real = look(rendered(wanted), wanted, REAL)
    codec = look(through_codec(rendered(wanted)), wanted, CODEC)
    ways = {
        JOINT: partial(joint, together, captions),
        DETAIL: partial(detail_pass, apart, captions),
        BASE: partial(base_enlarged, apart, captions),
    }
    rows = {name: _row(name, way, wanted, real, codec) for name, way in ways.items()}
    rows[CODEC] = Row(measures(codec, real, codec))
    rows[REAL] = Row(measures(real, real, codec))
    return Drawn(pictures, GUIDANCE, rows)


def _row(
    name: str,
    way: Callable[[float], Iterator[Tensor]],
    wanted: list[PromptScene],
    real: Seen,
    codec: Seen,
) -> Row:
    def drawn(guidance: float) -> Measures:
        seen = look(way(guidance), wanted, f"{name}, guidance {guidance:g}")
        return measures(seen, real, codec)

    return Row(drawn(GUIDANCE), drawn(1.0))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn", description=__doc__)
    parser.add_argument("--pictures", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--to", type=Path, default=HERE, help="folder for the JSON and Markdown")
    parser.add_argument(
        "--detail-adapter",
        type=Path,
        default=mini.detail_adapter_path(),
        help="another detail adapter of the miniature than the bundled one",
    )
    given = parser.parse_args(arguments)
    if given.pictures < 2:
        parser.error("--pictures must be 2 or more")
    try:
        found = judge(given.pictures, given.detail_adapter)
        given.to.mkdir(parents=True, exist_ok=True)
        write_drawn(given.to / "results.json", found)
        write_text(given.to / "results.md", as_markdown(found))
    except (CheckpointError, OSError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    sys.stdout.write(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
