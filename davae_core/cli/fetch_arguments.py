"""What `davae fetch` takes; without PyTorch, as all arguments are read."""

import argparse
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Let the command take what it takes."""
    command.description = (
        "Gets the files that `davae card` laid out into ComfyUI's folders. Each is compared with its size, its hash "
        "and its kind before it gets its name there; stopped, the same command goes on where it was."
    )
    command.add_argument(
        "source",
        metavar="REPO",
        help="a Hugging Face repository, owner/name, or a folder that `davae card` wrote",
    )
    command.add_argument(
        "--comfyui",
        type=Path,
        required=True,
        metavar="DIR",
        help="ComfyUI's folder, which has models in it",
    )
    command.add_argument("--revision", help="a branch, a tag or a commit (default: main)")
    command.add_argument(
        "--replace", action="store_true", help="replace other files of the same names"
    )
