"""The CLIP score: how well a picture fits its caption, by a CLIP from a local folder (Hessel et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import CheckpointError
from ..images import from_bytes, image_to_pil
from .pictures import PictureSet

EXAMPLE = "`hf download openai/clip-vit-large-patch14 --local-dir clip` makes one"
_BATCH = 16


@dataclass(frozen=True)
class Clip:
    """transformers' CLIPModel and what prepares pictures and captions for it."""

    model: Any
    processor: Any


def load_clip(folder: Path, device: str) -> Clip:
    """The CLIP in a folder as transformers keeps it: config.json, model.safetensors and its tokenizer's files.

    Raises CheckpointError for a folder that is not there or holds anything else, ImportError without transformers.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is no folder, but the CLIP score needs a CLIP's: {EXAMPLE}, name it with --clip."
        )
    try:
        from transformers import CLIPModel, CLIPProcessor
    except ImportError as error:
        raise ImportError(
            "The CLIP score needs the package transformers, which is not installed: run `pip install davae[train]`, or "
            "leave --clip out."
        ) from error
    loaded: Any
    try:
        loaded = CLIPModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} holds no whole CLIP as transformers keeps it, with its weights in model.safetensors: {EXAMPLE}."
        ) from error
    model, told = loaded
    if told["missing_keys"]:
        raise CheckpointError(
            f"{folder} lacks {len(told['missing_keys'])} of CLIP's tensors: {EXAMPLE}."
        )
    return Clip(model.to(device).eval().requires_grad_(False), processor)


@torch.inference_mode()
def clip_score(
    clip: Clip, pictures: PictureSet, names: Iterable[str], captions: Mapping[str, str]
) -> float:
    """The mean over pictures of 100 times the cosine of picture and caption, 0 where that is negative.

    Captions are cut to what CLIP reads, 77 tokens of the usual ones. Raises ImageError.
    """
    found: list[Tensor] = []
    waiting: list[str] = []
    for name in names:
        waiting.append(name)
        if len(waiting) == _BATCH:
            found.append(_similarities(clip, pictures, waiting, captions))
            waiting = []
    if waiting:
        found.append(_similarities(clip, pictures, waiting, captions))
    return float(100 * torch.cat(found).clamp(min=0).mean())


def _similarities(
    clip: Clip, pictures: PictureSet, names: list[str], captions: Mapping[str, str]
) -> Tensor:
    """The cosine of each picture and its caption, [B]."""
    shown = [image_to_pil(from_bytes(pictures.read(name))) for name in names]
    told = clip.processor(
        text=[captions[name] for name in names],
        images=shown,
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=clip.model.config.text_config.max_position_embeddings,
    ).to(clip.model.device)
    output = clip.model(**told)
    cosines: Tensor = torch.nn.functional.cosine_similarity(
        output.image_embeds.double(), output.text_embeds.double()
    )
    return cosines.cpu()
