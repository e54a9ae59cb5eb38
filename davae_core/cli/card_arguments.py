"""What `davae card` takes; without PyTorch, as all arguments are read."""

import argparse
from pathlib import Path

from ..release.front_matter import OTHER


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
