"""An adapter or a merged model draws captions into a folder: pictures that are there already stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..codec.latent_files import encoding_hash
from ..format import KIND_ADAPTER
from ..images import write_image
from ..mini.text_encoder_files import load_text_encoder
from ..pipeline import EncodeText, TextToImage, load_pipeline
from ..reading.plain_text import SentenceError
from ..transformer.description import ModelDescription, read_file_description
from .captions import Captions
from .kept import open_folder
from .pictures import PictureSet
from .progress import Progress
from .subjects import Subject


@dataclass(frozen=True)
class Stack:
    """What an adapter draws with.

    `base`: the pretrained transformer, None for merged models; `vae`: the DA-VAE; `text`: a diffusers pipeline's folder
    or a miniature text encoder, None for the cache's text states, or else the encoders in `base`.
    """

    base: Path | None
    vae: Path
    text: Path | None
    device: str
    dtype: torch.dtype


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn: what is None is the model's own advice. Picture i has the seed `seed` + i.

    `count`: the first so many captions, None for all; `batch`: pictures at a time.
    """

    size: tuple[int, int] | None
    steps: int | None
    guidance: float | None
    seed: int
    count: int | None
    batch: int


@dataclass(frozen=True)
class Drawn:
    """The pictures, their captions by the same names, and what they were made with."""

    pictures: PictureSet
    captions: dict[str, str]
    made_with: dict[str, Any]


def draw(
    subject: Subject,
    captions: Captions,
    stack: Stack,
    sampling: Sampling,
    folder: Path,
    progress: Progress,
) -> Drawn:
    """Draw the captions into `folder`, but for pictures that are there already.

    The same call makes the same pictures, however often it was interrupted. Raises CheckpointError or SentenceError
    for files that do not belong together, and for a folder whose pictures were made with something else.
    """
    description = read_file_description(subject.path)
    width, height = sampling.size or _trained_size(subject, description)
    advice = description.advice
    made_with = {
        "model": subject.sha256,
        "base": None if stack.base is None else stack.base.name,
        "vae": encoding_hash(stack.vae),
        "text": _text_name(stack, captions),
        "captions": captions.digest,
        "width": width,
        "height": height,
        "steps": sampling.steps or advice.steps,
        "guidance": advice.guidance if sampling.guidance is None else sampling.guidance,
        "shift": advice.shift,
        "seed": sampling.seed,
        "dtype": str(stack.dtype).removeprefix("torch."),
    }
    open_folder(folder, made_with)
    texts = captions.texts[: sampling.count]
    files = {f"{number:06d}": folder / f"{number:06d}.png" for number in range(len(texts))}
    _draw_missing(
        subject, captions, stack, sampling, (width, height), list(files.values()), progress
    )
    return Drawn(PictureSet(files), dict(zip(files, texts, strict=True)), made_with)


def _draw_missing(
    subject: Subject,
    captions: Captions,
    stack: Stack,
    sampling: Sampling,
    size: tuple[int, int],
    files: Sequence[Path],
    progress: Progress,
) -> None:
    starts = range(0, len(files), sampling.batch)
    groups = [range(start, min(start + sampling.batch, len(files))) for start in starts]
    # Whole groups, for a picture's last bits depend on those beside it.
    missing = [group for group in groups if not all(files[i].is_file() for i in group)]
    if not missing:
        return
    pipeline = _pipeline(subject, captions, stack)
    for group in progress(missing, f"drawing {subject.name}"):
        latents = pipeline.draw_latents(
            [captions.texts[i] for i in group],
            *size,
            seed=[sampling.seed + i for i in group],
            steps=sampling.steps,
            guidance=sampling.guidance,
        )
        for i, latent in zip(group, latents, strict=True):
            if not torch.isfinite(latent).all():
                raise SentenceError(
                    f"{subject.path} draws NaN for caption {i + 1}: leave it out, or try --dtype float32."
                )
            if not files[i].is_file():
                # One by one: a large picture takes gigabytes.
                with torch.inference_mode():
                    write_image(files[i], pipeline.codec.decode(latent[None]))


def _pipeline(subject: Subject, captions: Captions, stack: Stack) -> TextToImage:
    merged = subject.kind != KIND_ADAPTER
    base = subject.path if merged else stack.base
    if base is None:
        raise SentenceError(
            f"{subject.path} is an adapter: name the pretrained transformer it belongs to with --base."
        )
    return load_pipeline(
        base,
        stack.vae,
        adapter=None if merged else subject.path,
        encode_text=_encoder(captions, stack),
        device=stack.device,
        dtype=stack.dtype,
    )


def _encoder(captions: Captions, stack: Stack) -> EncodeText | Path | None:
    if stack.text is not None and stack.text.is_file():
        return load_text_encoder(stack.text, stack.device).encode
    if stack.text is None and captions.states is not None:
        return captions.states.encode
    return stack.text


def _text_name(stack: Stack, captions: Captions) -> str | None:
    if stack.text is not None:
        return stack.text.name
    return None if captions.states is None else "cache"


def _trained_size(subject: Subject, description: ModelDescription) -> tuple[int, int]:
    if not description.advice.trained:
        raise SentenceError(
            f"{subject.path} does not say at which size it was trained: name one with --size."
        )
    return description.advice.trained[0]
