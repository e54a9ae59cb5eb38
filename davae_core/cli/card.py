"""`davae card`: a folder for upload, with a model card."""

import argparse
import shlex
from pathlib import Path

from ..reading.plain_text import SentenceError
from ..release.front_matter import OTHER, Terms, read_data_statement
from ..release.laying_out import CARD, Publication, lay_out
from .terminal import note, say

_PLACEHOLDER = "OWNER/NAME"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Let the command take what it takes."""
    command.description = (
        "Lays out a folder that is ready for Hugging Face: the files, a model card, a manifest with their hashes for "
        "`davae fetch`, and of their runs the recipe, the log, the curves and the last pictures, all without where "
        "they lie on this computer. Uploads nothing, and says how to."
    )
    command.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="DA-VAEs, adapters, merged models"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a new or an empty folder"
    )
    command.add_argument(
        "--license", metavar="ID", help=f"such as apache-2.0, or {OTHER} with the next two"
    )
    command.add_argument("--license-name", metavar="NAME", help="such as stabilityai-ai-community")
    command.add_argument("--license-link", metavar="URL", help="where the licence can be read")
    stated = command.add_mutually_exclusive_group()
    stated.add_argument(
        "--data", metavar="TEXT", help="which pictures were trained on, and under which licences"
    )
    stated.add_argument("--data-file", type=Path, metavar="FILE", help="the same in a text file")
    command.add_argument(
        "--base-model",
        nargs="+",
        default=[],
        metavar="OWNER/NAME",
        help="what it derives from, such as stabilityai/stable-diffusion-3.5-medium",
    )
    command.add_argument(
        "--run",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of the runs (default: those that the files lie in)",
    )
    command.add_argument(
        "--evaluation", type=Path, metavar="JSON", help="what `davae evaluate` wrote of the files"
    )
    command.add_argument("--repo", metavar="OWNER/NAME", help="where it shall be uploaded to")
    command.add_argument("--title", help="the card's heading (default: the first file's name)")


def run(options: argparse.Namespace) -> None:
    """Lay the folder out."""
    if options.license is None:
        raise SentenceError(
            "A card says under which licence the files are: name it with --license, and what the base's licence asks "
            "of you with --data."
        )
    if not options.base_model:
        raise SentenceError(
            "A card says which model the files derive from: name it with --base-model, such as "
            "stabilityai/stable-diffusion-3.5-medium."
        )
    terms = Terms(
        options.license, options.license_name, options.license_link, tuple(options.base_model)
    )
    repository = options.repo or _PLACEHOLDER
    publication = Publication(
        files=tuple(options.files),
        runs=None if options.run is None else tuple(options.run),
        terms=terms,
        data=read_data_statement(options.data, options.data_file),
        evaluation=options.evaluation,
        repository=repository,
        title=options.title or options.files[0].stem,
    )
    lay_out(publication, options.output)
    note(f"{options.output / CARD} is written: read it. This uploads the folder:")
    say(f"hf upload {repository} {shlex.quote(str(options.output))} .")
