"""What a terminal, or the file that output goes to, can show."""

import io
from collections.abc import Iterable
from typing import TextIO


def take_any_character(streams: Iterable[TextIO]) -> None:
    r"""Let streams write what their code page lacks as such as \u0436, where Python would raise an error.

    Redirected output on Windows has a narrow code page, and names of files have any character.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
