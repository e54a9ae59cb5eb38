"""Train and measure every arm: ``python -m benchmarks.ablation OUT``.

Codecs, caches and adapters are trained into OUT, 2,000 pictures are drawn with each, and OUT/results.json is written.
Whatever is finished in OUT is kept: run the same command again after a stop.
``python -m training.mini.pictures pictures`` must have written the pictures that codecs are trained on.
``--stack`` starts from another miniature than the bundled
one, such as the folder ``miniature`` that ``python -m training mini`` leaves, beside its ``pictures``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from davae_core.files import CheckpointError
from training.errors import TrainingError, sentence_of

from .plan import Plan
from .running import run
from .training_runs import TrainingFailed


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the runs and the results")
    parser.add_argument("--stack", type=Path, help="folder of another miniature's files")
    parser.add_argument(
        "--codec-pictures",
        type=Path,
        default=Path("pictures"),
        help="what codecs are trained on (default: pictures)",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes at a time (default: cores)"
    )
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        parser.error("--jobs must be 1 or more")
    try:
        written = run(given.out, given.stack, given.codec_pictures, Plan(), given.jobs)
    except (TrainingFailed, TrainingError, CheckpointError, OSError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped: the same command goes on from what is finished.\n")
        return 1
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
