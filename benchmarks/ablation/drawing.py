"""Pictures from captions, by an adapter with its DA-VAE or by the base model alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.merging import merge
from davae_core.transformer.names import stability_to_diffusers
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from training.cache.config import TextConfig
from training.cache.encoding import latents_of, load_caption_encoder
from training.cache.text_states import TextStates
from training.dit.denoiser import Denoiser
from training.dit.drawing import PictureDecoder, SamplingPlan, draw_latents

from .arms import SIDE, Reference, Sampling, Stack

BATCH = 50
_DEVICE = torch.device("cpu")
EncodeText = Callable[[Sequence[str]], TextStates]


@dataclass(frozen=True)
class Drawer:
    """A transformer, what encodes its text and what decodes its latents, at one size of picture."""

    denoiser: Denoiser
    encode_text: EncodeText
    decoder: PictureDecoder
    plan: SamplingPlan

    def draw(self, captions: Sequence[str], seed: int) -> Iterator[Tensor]:
        """Batches [<= BATCH, 3, SIDE, SIDE] in [-1, 1]; picture i's noise depends on the seed and i only."""
        empty = self.encode_text([""])
        for first in range(0, len(captions), BATCH):
            text = self.encode_text(captions[first : first + BATCH])
            # Both networks compute in bfloat16 as they were trained; latents are added up in float32.
            with torch.autocast("cpu", torch.bfloat16):
                latents = draw_latents(
                    self.denoiser,
                    [text.row(row) for row in range(len(text.pooled))],
                    empty,
                    self.decoder.layout.channels,
                    self.plan,
                    _DEVICE,
                    seed,
                    first,
                )
                pictures = self.decoder.full(latents)
            yield enlarge(pictures)


def adapted(
    stack: Stack, adapter: Path, codec: Path, encode_text: EncodeText, sampling: Sampling
) -> Drawer:
    """An adapter on its base transformer. Raises CheckpointError when a file is not what it should be."""
    tensors = merge(load_transformer(stack.transformer), read_adapter(adapter))
    return _drawer(tensors, codec, True, SIDE, encode_text, sampling)


def unadapted(
    stack: Stack, reference: Reference, encode_text: EncodeText, sampling: Sampling
) -> Drawer:
    """The base transformer as it is. Raises CheckpointError when a file is not what it should be."""
    tensors = load_transformer(stack.transformer)
    return _drawer(tensors, stack.base_vae, False, reference.side, encode_text, sampling)


def caption_encoder(stack: Stack) -> EncodeText:
    """The stack's CLIP. Raises CheckpointError when its file is not what it should be."""
    return load_caption_encoder(
        TextConfig(kind="mini", source=str(stack.clip), t5_tokens=0), _DEVICE
    )


def enlarge(pictures: Tensor) -> Tensor:
    """[B, 3, h, w] in [-1, 1] -> [B, 3, SIDE, SIDE], bicubic, where they are smaller."""
    if pictures.shape[-1] == SIDE:
        return pictures
    return F.interpolate(pictures, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)


def _drawer(
    tensors: dict[str, Tensor],
    vae: Path,
    detail: bool,
    side: int,
    encode_text: EncodeText,
    sampling: Sampling,
) -> Drawer:
    model = diffusers_transformer(transformer_sizes(tensors))
    model.load_state_dict(stability_to_diffusers(tensors, model.state_dict()))
    layout, _ = latents_of(str(vae), detail, "vae")
    cells = side // layout.factor
    plan = SamplingPlan(sampling.shift, sampling.steps, sampling.guidance, cells, cells)
    denoiser = Denoiser(model.eval().requires_grad_(False))
    return Drawer(denoiser, encode_text, PictureDecoder(str(vae), layout, _DEVICE), plan)
