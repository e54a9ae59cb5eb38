"""`davae fetch`: published files into ComfyUI's folders."""

import argparse

from ..release.fetching import fetch
from ..release.sources import source_of
from .terminal import say


def run(options: argparse.Namespace) -> None:
    """Fetch."""
    placed = fetch(source_of(options.source, options.revision), options.comfyui, options.replace)
    for file in placed:
        say(f"{file.path}: {'fetched' if file.fetched else 'was there already'}.")
