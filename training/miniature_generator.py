"""Retrain the miniature's transformer and adapter from nothing: ``python -m training.miniature_generator``.

Scenes, caches, the base transformer and its adapter, by the configurations ``mini_*.yaml``, into ``runs/mini``.
Whatever an interrupted run has finished is kept. The miniature's VAE, DA-VAE and text encoder are taken as they are
bundled.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from davae_core.files import CheckpointError

from .cache_config import read_cache_config
from .caching import make_cache
from .dit import train_dit
from .dit_config import read_dit_config
from .errors import TrainingError
from .miniature import write_prompt_scenes

CONFIGS = Path(__file__).parent / "configs"
FOLDER = Path("runs/mini")
HELD_OUT_SEED = 1_000_000
HELD_OUT, SIDE = 200, 256


def retrain(scenes: int) -> tuple[Path, Path] | None:
    """The transformer and the adapter, or None when a training was interrupted with a checkpoint.

    Raises TrainingError or CheckpointError.
    """
    _scenes(FOLDER / "scenes", scenes, 0)
    _scenes(FOLDER / "val", HELD_OUT, HELD_OUT_SEED)
    for name in ("mini_cache_base", "mini_cache_davae"):
        make_cache(read_cache_config(CONFIGS / f"{name}.yaml"))
        held_out = read_cache_config(
            CONFIGS / f"{name}.yaml",
            (
                f"source.folders=[{(FOLDER / 'val').as_posix()}]",
                f"output.folder={FOLDER.as_posix()}/{name.removeprefix('mini_')}_val",
            ),
        )
        make_cache(held_out)
    base = train_dit(read_dit_config(CONFIGS / "mini_base_transformer.yaml"))
    if base is None:
        return None
    adapter = train_dit(read_dit_config(CONFIGS / "mini_adapter.yaml", (f"model.base={base}",)))
    return None if adapter is None else (base, adapter)


def _scenes(folder: Path, count: int, seed: int) -> None:
    if len(list(folder.glob("*.txt"))) < count:
        write_prompt_scenes(folder, count, SIDE, seed)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.miniature_generator")
    parser.add_argument("--scenes", type=int, default=4000, help="training scenes (default 4000)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        written = retrain(given.scenes)
    except (TrainingError, CheckpointError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if written is None:
        sys.stderr.write("Stopped before the end: run the same command to go on.\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
