"""`davae card`: a folder for upload, with a model card."""

import argparse
import shlex

from ..reading.plain_text import SentenceError
from ..release.front_matter import Terms, read_data_statement
from ..release.laying_out import CARD, Publication, lay_out
from .terminal import note, say

_PLACEHOLDER = "OWNER/NAME"


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
