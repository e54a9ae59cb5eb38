"""Command line of the trainers: `python -m training vae|text|cache|dit|sample CONFIG`, `... mini OUT`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from davae_core.reading.console import take_any_character
from davae_core.reading.plain_text import printable
from davae_core.reading.unforeseen import UNFORESEEN

from .errors import sentence_of
from .settings.yaml_config import read_config

if TYPE_CHECKING:
    from .cache.parts import Part


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 failed or stopped early with one sentence on stderr (argparse exits with 2)."""
    take_any_character((sys.stdout, sys.stderr))
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        return _COMMANDS[options.command](options)
    except UNFORESEEN as error:
        return _fail(sentence_of(error, _files(options)))


class PrintableLines(logging.Formatter):
    """A line a message, whatever stands in the names of pictures that it tells of."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message alone, printable."""
        return printable(record.message)


def _files(options: argparse.Namespace) -> list[Path]:
    """The files or folders that the command was given."""
    return [value for value in vars(options).values() if isinstance(value, Path)]


def _train_vae(options: argparse.Namespace) -> int:
    # Imported here: help needs no accelerate.
    from .vae.config import VaeTrainingConfig
    from .vae.train import train_vae

    config = read_config(VaeTrainingConfig, options.config, tuple(options.set))
    return _report(train_vae(config, options.stop_at), config.output.folder)


def _train_dit(options: argparse.Namespace) -> int:
    from .dit.config import DitTrainingConfig
    from .dit.inputs import check_inputs
    from .dit.plan import plan_run
    from .dit.train import train_dit

    config = read_config(DitTrainingConfig, options.config, tuple(options.set))
    if options.dry_run:
        # From the launcher itself: a plan needs no process group, and no GPU for each process.
        if os.environ.get("RANK", "0") == "0":
            check_inputs(config)
            plan = plan_run(config, int(os.environ.get("WORLD_SIZE", "1")))
            sys.stdout.write("\n".join(plan.lines()) + "\n")
        return 0
    return _report(train_dit(config, options.stop_at), config.output.folder)


def _make_cache(options: argparse.Namespace) -> int:
    from .cache.config import CacheConfig
    from .cache.make import make_cache
    from .cache.parts import Part, join_parts

    config = read_config(CacheConfig, options.config, tuple(options.set))
    if options.join:
        head = join_parts(Path(config.output.folder).expanduser())
        words = f"{config.output.folder} is one cache of {head.shards} shards"
    else:
        report = make_cache(config, options.part or Part())
        words = report.words(config.output.folder)
    sys.stdout.write(printable(words) + "\n")
    return 0


def _part(written: str) -> Part:
    from .cache.parts import part_of

    try:
        return part_of(written)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _draw_samples(options: argparse.Namespace) -> int:
    from .sample.config import SampleConfig
    from .sample.draw import draw_samples

    config = read_config(SampleConfig, options.config, tuple(options.set))
    drawn = draw_samples(config)
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(
            printable(
                f"{drawn} of {config.samples.count} pictures drawn in {config.output.folder}\n"
            )
        )
    return 0


def _report(written: Path | None, folder: str) -> int:
    if written is None:
        return _fail(
            f"Stopped before the end with a checkpoint in {folder}: run the same command to go on."
        )
    sys.stdout.write(f"{written}\n")
    return 0


def _train_text(options: argparse.Namespace) -> int:
    from .mini.text_config import TextTrainingConfig
    from .mini.text_encoder import train_text_encoder

    config = read_config(TextTrainingConfig, options.config, tuple(options.set))
    trained = train_text_encoder(config, options.stop_at)
    if trained is None:
        return _report(None, str(Path(config.output.file).parent))
    written, found = trained
    sys.stdout.write(
        f"{written}\nOf {found.count} scenes that training never saw, the caption finds the picture in "
        f"{found.pictures_by_caption:.1%} and the picture its caption in {found.captions_by_picture:.1%}.\n"
    )
    return 0


def _retrain_miniature(options: argparse.Namespace) -> int:
    from .mini.plan import miniature_plan
    from .mini.run import retrain

    out = options.out.expanduser().resolve()
    written = retrain(out, miniature_plan(out, options.from_bundled_codec), options.set)
    if written is None:
        return _fail("Stopped before the end: run the same command to go on.")
    sys.stdout.write(f"{written}\n")
    return 0


_COMMANDS = {
    "vae": _train_vae,
    "text": _train_text,
    "cache": _make_cache,
    "dit": _train_dit,
    "sample": _draw_samples,
    "mini": _retrain_miniature,
}


def _fail(sentence: str) -> int:
    sys.stderr.write(printable(sentence) + "\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train DA-VAE models.")
    commands = parser.add_subparsers(dest="command", required=True)
    vae = commands.add_parser("vae", help="stage 1: a base VAE or a detail-aligned codec")
    text = commands.add_parser("text", help="the miniature's text encoder, as CLIP is trained")
    cache = commands.add_parser("cache", help="encode captioned pictures once, for stage 2")
    dit = commands.add_parser("dit", help="stage 2: an adapter of a transformer, or a whole one")
    sample = commands.add_parser("sample", help="many pictures of a class-conditional model")
    for command in (vae, text, cache, dit, sample):
        command.add_argument(
            "config", type=Path, help="YAML file; training/configs/ holds commented ones"
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="SECTION.KEY=VALUE",
            help="change one key (may be repeated)",
        )
    for command in (vae, text, dit):
        command.add_argument(
            "--stop-at",
            type=int,
            metavar="STEP",
            help="stop after this many steps in all, with a checkpoint",
        )
    parts = cache.add_mutually_exclusive_group()
    parts.add_argument(
        "--part",
        type=_part,
        metavar="K/N",
        help="make only every N-th shard, in a job of its own; the last of the N jobs makes one cache of all",
    )
    parts.add_argument(
        "--join",
        action="store_true",
        help="make one cache of the parts that were copied into output.folder",
    )
    dit.add_argument(
        "--dry-run",
        action="store_true",
        help="only say how many parameters would train, the memory and the steps per epoch",
    )
    mini = commands.add_parser("mini", help="the whole miniature from nothing")
    mini.add_argument("out", type=Path, help="folder to make it in; what is finished there is kept")
    mini.add_argument(
        "--from-bundled-codec",
        action="store_true",
        help="train only transformer and adapter, on the bundled VAE, DA-VAE and CLIP",
    )
    mini.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE:SECTION.KEY=VALUE",
        help="change one key of one stage (may be repeated)",
    )
    return parser


def _leave_group() -> None:
    """Leave the other processes of a run, where there are any: an exit in the middle of them may end in an abort."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    code = main()
    if code == 0:
        _leave_group()
    sys.exit(code)
