"""The command line, one function a command (`davae --help` lists them, `davae COMMAND --help` explains one).

Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage. What computes is imported when a command needs
it: PyTorch alone takes seconds, and help, wrong usage and `davae inspect` do without.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ..reading.console import take_any_character
from ..reading.plain_text import printable
from ..reading.unforeseen import (
    UNFORESEEN,
    gpu_is_full,
    is_sentence,
    memory_is_full,
    unforeseen_sentence,
)
from .arguments import parser
from .options import codec_path
from .terminal import note, say

DONE, FAILED, INTERRUPTED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage leaves through argparse with code 2."""
    take_any_character((sys.stdout, sys.stderr))
    options = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # Libraries warn their developers; what users need to know is said in sentences.
            warnings.simplefilter("ignore")
            _function_of(options.command)(options)
    except UNFORESEEN as error:
        return _fail(sentence_of(error, options))
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    return DONE


def sentence_of(error: Exception, options: argparse.Namespace) -> str:
    """What a user of a command with these options is told of an error."""
    if gpu_is_full(error):
        return "The GPU has too little free memory: add --tiled, or --device cpu."
    if memory_is_full(error):
        could_tile = "tiled" in options and not options.tiled
        return "This computer has too little free memory: " + (
            "add --tiled." if could_tile else "close other programs or give less."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'} cannot be used ({error.strerror}): check the path."
    if is_sentence(error):
        return str(error)
    return unforeseen_sentence(error, _files(options))


def _files(options: argparse.Namespace) -> list[Path]:
    """Every file that the command was given to read."""
    read = [value for name, value in vars(options).items() if name != "output"]
    given = [part for value in read for part in (value if isinstance(value, list) else [value])]
    vae = [codec_path(options.vae)] if isinstance(vars(options).get("vae"), str) else []
    return [path for path in given if isinstance(path, Path)] + vae


def run_inspect(options: argparse.Namespace) -> None:
    """`davae inspect`."""
    from ..inspection import inspect_file

    found = inspect_file(options.file)
    if options.json:
        # json writes what is no ASCII, and so all that a terminal obeys, as escapes.
        sys.stdout.write(json.dumps(found.data, indent=2) + "\n")
    else:
        say(*found.lines)


def _function_of(command: str) -> Callable[[argparse.Namespace], None]:
    """What a command runs."""
    if command == "inspect":
        return run_inspect
    from . import card, conversion, evaluate, fetch, pictures

    functions: dict[str, Callable[[argparse.Namespace], None]] = {
        "demo": pictures.run_demo,
        "encode": pictures.run_encode,
        "decode": pictures.run_decode,
        "reconstruct": pictures.run_reconstruct,
        "convert": conversion.run_convert,
        "pack": conversion.run_pack,
        "merge": conversion.run_merge,
        "evaluate": evaluate.run,
        "card": card.run,
        "fetch": fetch.run,
        "preview-decoder": conversion.run_preview_decoder,
    }
    return functions[command]


def _fail(sentence: str) -> int:
    sys.stderr.write(f"davae: {printable(sentence)}\n")
    return FAILED
