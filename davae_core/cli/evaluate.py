"""`davae evaluate`: pictures, codecs and adapters judged in the field's numbers."""

import argparse

import torch

from .. import mini
from ..evaluation.captions import Captions, read_captions
from ..evaluation.drawing import Sampling, Stack
from ..evaluation.evaluating import Choices, evaluate
from ..evaluation.names import REPORT, SCORES
from ..evaluation.networks import NetworkFiles
from ..evaluation.report import table
from ..evaluation.subjects import Subject, subjects_of
from ..reading.plain_text import SentenceError
from .choices import MINIATURE
from .options import codec_path, device_of, folder_at
from .terminal import named_bar, note, say


def run(options: argparse.Namespace) -> None:
    """Judge what was given."""
    subjects = _subjects(options)
    device = device_of(options.device)
    captions = None if options.captions is None else read_captions(options.captions)
    choices = Choices(
        output=folder_at(options.output),
        real=options.real,
        square=options.square,
        rebuilt=options.rebuilt,
        captions=captions,
        stack=None if options.vae is None else _stack(options, device, captions),
        sampling=Sampling(
            options.size,
            options.steps,
            options.guidance,
            options.seed,
            options.count,
            options.batch,
        ),
        tiled=options.tiled,
        best_by=options.best_by,
    )
    files = NetworkFiles(options.inception, options.clip, options.lpips)
    found = evaluate(subjects, files, choices, device, named_bar)
    say(*table(found.results))
    if found.best is not None:
        score, name = found.best
        say(f"Best by {SCORES[score].title}: {name}.")
    note(f"{options.output / REPORT} is written.")


def _subjects(options: argparse.Namespace) -> list[Subject]:
    if options.subjects:
        return subjects_of(options.subjects)
    if options.vae is None:
        raise SentenceError(
            "Nothing to judge was given: name folders of pictures, adapters or a run, or a DA-VAE with --vae."
        )
    return subjects_of([codec_path(options.vae)])


def _stack(options: argparse.Namespace, device: str, captions: Captions | None) -> Stack:
    base, text = options.base, options.text
    if base is not None and str(base) == MINIATURE and not base.exists():
        base = mini.transformer_path()
        if text is None and (captions is None or captions.states is None):
            text = mini.clip_path()
    dtype = options.dtype or ("bfloat16" if device == "cuda" else "float32")
    return Stack(base, codec_path(options.vae), text, device, getattr(torch, dtype))
