"""The YAML at the head of a model card, made and checked by huggingface_hub, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..reading.plain_text import SentenceError, plain
from .manifest import Kind

LIBRARY = "diffusion-single-file"
"""What Hugging Face calls files that ComfyUI reads."""
_TAGS = ("comfyui", "da-vae", LIBRARY)
_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "vae": ("vae", "autoencoder"),
    "adapter": ("lora", "text-to-image", "stable-diffusion-3"),
    "merged": ("text-to-image", "stable-diffusion-3"),
}
_RELATION: dict[Kind, str] = {"vae": "finetune", "adapter": "adapter", "merged": "merge"}
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
OTHER = "other"
"""The licence that has a name and a link of its own."""


@dataclass(frozen=True)
class Terms:
    """What the user states: licence, and the models on Hugging Face that this derives from."""

    licence: str
    licence_name: str | None
    licence_link: str | None
    base_models: tuple[str, ...]


def check_terms(terms: Terms) -> None:
    """Raise SentenceError unless the terms are those that Hugging Face takes."""
    if not _LICENCE.fullmatch(terms.licence):
        raise SentenceError(
            f"--license is {plain(terms.licence)}, which is no licence's id such as apache-2.0 or {OTHER}: correct it."
        )
    named = terms.licence_name is not None, terms.licence_link is not None
    if terms.licence == OTHER and not all(named):
        raise SentenceError(
            f"--license {OTHER} needs the licence's name and address: add --license-name and --license-link."
        )
    if terms.licence != OTHER and any(named):
        raise SentenceError(
            f"--license-name and --license-link belong to --license {OTHER}: leave them out, or say {OTHER}."
        )
    if terms.licence_link is not None and not terms.licence_link.startswith("https://"):
        raise SentenceError(
            f"--license-link is {plain(terms.licence_link)}, but it must begin with https://: correct it."
        )
    for model in terms.base_models:
        if not _REPOSITORY.fullmatch(model):
            raise SentenceError(
                f"--base-model is {plain(model)}, but a model on Hugging Face is owner/name: correct it."
            )


def check_repository(name: str) -> None:
    """Raise SentenceError unless it is the name of a repository on Hugging Face."""
    if not _REPOSITORY.fullmatch(name):
        raise SentenceError(
            f"--repo is {plain(name)}, but a repository on Hugging Face is owner/name: correct it."
        )


def with_front_matter(terms: Terms, kinds: Iterable[Kind], text: str) -> str:
    """The card: front matter, then `text`. Raises SentenceError where huggingface_hub reads it otherwise."""
    from huggingface_hub import ModelCard, ModelCardData

    present = [kind for kind in _OF_KIND if kind in set(kinds)]
    leading: Kind = present[-1]
    data = ModelCardData(
        license=terms.licence,
        license_name=terms.licence_name,
        license_link=terms.licence_link,
        base_model=list(terms.base_models),
        base_model_relation=_RELATION[leading],
        library_name=LIBRARY,
        pipeline_tag="image-to-image" if leading == "vae" else "text-to-image",
        tags=[*_TAGS, *(tag for kind in present for tag in _OF_KIND[kind])],
    )
    card = f"---\n{data.to_yaml()}\n---\n\n{text}"
    read, meant = (part.to_dict() for part in (ModelCard(card).data, data))  # type: ignore[no-untyped-call]
    if read != meant:
        raise SentenceError(
            "The card's front matter is not read as it was written: use plain words in --license-name."
        )
    return card


def read_data_statement(text: str | None, file: Path | None) -> str:
    """What the user says of data and licences, from an option or a file. Raises SentenceError where that is nothing."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SentenceError(
                f"{file} is no text in UTF-8 that can be read: name another with --data-file."
            ) from error
    if text is None or not text.strip():
        raise SentenceError(
            "A card says which pictures were trained on, from where, and under which licences: say it with --data, or "
            "in a text file with --data-file."
        )
    return text.strip()
