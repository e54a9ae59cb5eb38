"""Pictures from captions, by an adapter with its DA-VAE or by the base model alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from training.dit.drawing import PictureDecoder, SamplingPlan, draw_detail, draw_latents

from .arms import SIDE, Sampling
from .stack import Stack

BATCH = 50
_DEVICE = torch.device("cpu")
EncodeText = Callable[[Sequence[str]], TextStates]


@dataclass(frozen=True)
class Drawer:
    """A transformer, what encodes its text and what decodes its latents, at one size of picture.

    `bases` [N, C, h, w] in model space, where the transformer draws the detail alone on them; else None.
    """

    denoiser: Denoiser
    encode_text: EncodeText
    decoder: PictureDecoder
    plan: SamplingPlan
    bases: Tensor | None = None

    def draw(self, captions: Sequence[str], seed: int) -> Iterator[Tensor]:
        """Batches [<= BATCH, 3, SIDE, SIDE] in [-1, 1]; picture i's noise depends on the seed and i only."""
        for latents in self._batches(captions, seed):
            yield decoded(self.decoder, latents)

    def latents(self, captions: Sequence[str], seed: int) -> Tensor:
        """What `draw` decodes, in model space [N, channels, h, w]."""
        return torch.cat(list(self._batches(captions, seed)))

    def _batches(self, captions: Sequence[str], seed: int) -> Iterator[Tensor]:
        empty = self.encode_text([""])
        for first in range(0, len(captions), BATCH):
            text = self.encode_text(captions[first : first + BATCH])
            texts = [text.row(row) for row in range(len(text.pooled))]
            yield self._drawn(texts, empty, seed, first)

    def _drawn(
        self, texts: Sequence[TextStates], empty: TextStates, seed: int, first: int
    ) -> Tensor:
        layout = self.decoder.layout
        if self.bases is None:
            return draw_latents(
                self.denoiser, texts, empty, layout.channels, self.plan, _DEVICE, seed, first
            )
        bases = self.bases[first : first + len(texts)]
        return draw_detail(self.denoiser, texts, empty, bases, layout, self.plan, seed, first)


def adapted(
    stack: Stack,
    adapter: Path,
    codec: Path,
    encode_text: EncodeText,
    sampling: Sampling,
    bases: Tensor | None = None,
) -> Drawer:
    """An adapter on its base transformer. Raises CheckpointError when a file is not what it should be."""
    tensors = merge(load_transformer(stack.transformer), read_adapter(adapter))
    decoder = decoder_of(codec, True)
    plan = _plan(sampling, SIDE, decoder)
    return Drawer(_denoiser(tensors), encode_text, decoder, plan, bases)


def unadapted(
    stack: Stack, side: int, encode_text: EncodeText, sampling: Sampling, steps: int
) -> Drawer:
    """The base transformer as it is, at `side` px. Raises CheckpointError when a file is not what it should be."""
    decoder = decoder_of(stack.davae, False)
    plan = replace(_plan(sampling, side, decoder), steps=steps)
    return Drawer(_denoiser(load_transformer(stack.transformer)), encode_text, decoder, plan)


def decoder_of(vae: Path, detail: bool) -> PictureDecoder:
    """What decodes latents of a DA-VAE (`detail`) or of the plain VAE."""
    return PictureDecoder(str(vae), latents_of(str(vae), detail, "vae")[0], _DEVICE)


def decoded(decoder: PictureDecoder, latents: Tensor) -> Tensor:
    """Latents in model space -> pictures [B, 3, SIDE, SIDE] in [-1, 1]."""
    return enlarge(decoder.full(latents))


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


def _denoiser(tensors: dict[str, Tensor]) -> Denoiser:
    model = diffusers_transformer(transformer_sizes(tensors))
    model.load_state_dict(stability_to_diffusers(tensors, model.state_dict()))
    return Denoiser(model.eval().requires_grad_(False))


def _plan(sampling: Sampling, side: int, decoder: PictureDecoder) -> SamplingPlan:
    cells = side // decoder.layout.factor
    return SamplingPlan(sampling.shift, sampling.steps, sampling.guidance, cells, cells)
