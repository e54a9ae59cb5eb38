"""Training the miniature's text encoder as CLIP was trained: captions and pictures find each other in a batch."""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from davae_core.clip_tokenizer import END, ClipTokenizer
from davae_core.text_encoder import ClipTextModel, TextConfig
from davae_core.text_encoder_files import read_text_encoder, write_text_encoder

from .caption_pairs import Captioned, draw
from .schedule import cosine_factor
from .text_config import HELD_OUT_SEED, ContrastConfig, TextSizesConfig, TextTrainingConfig

LOG = logging.getLogger(__name__)
LARGEST_SCALE = math.log(100.0)
"""CLIP's own limit on the learned logit scale."""


@dataclass(frozen=True)
class Retrieval:
    """Share of held-out captions whose picture is the nearest, and of pictures whose caption is the nearest."""

    pictures_by_caption: float
    captions_by_picture: float
    count: int


class PictureTower(nn.Module):
    """Pictures [B, 3, size, size] in [-1, 1] to vectors [B, width]; only training needs it."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_halve(3, 32), *_halve(32, 64), *_halve(64, 128), *_halve(128, 128), nn.Flatten()
        )
        # Flat, not averaged: captions speak of places.
        self.projection = nn.Linear(128 * (size // 16) ** 2, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """Vectors of any length; the loss compares directions."""
        projected: Tensor = self.projection(self.layers(pictures))
        return projected


def train_text_encoder(config: TextTrainingConfig) -> tuple[Path, Retrieval]:
    """Train, write the file, and measure what was written on scenes that training never saw.

    Raises CheckpointError when the file cannot be written or CLIP's vocabulary is not installed.
    """
    data = config.data
    tokenizer = ClipTokenizer()
    train = draw(data.families, 0, data.pictures, data.size)
    torch.manual_seed(config.train.seed)
    text, pictures = _towers(config.model, data.size)
    _fit(text, pictures, train, _tokens(tokenizer, train.captions), config.train)
    path = Path(config.output.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_encoder(path, text)
    held_out = draw(data.families, HELD_OUT_SEED, data.held_out, data.size)
    tokens = _tokens(tokenizer, held_out.captions)
    return path, measure_retrieval(read_text_encoder(path), pictures.eval(), held_out, tokens)


def contrastive_loss(texts: Tensor, images: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy over a batch of pairs.

    `texts` and `images` [B, width] are compared by angle, times exp(`scale`); `same` [B, B] says which pairs carry
    the same caption: those off the diagonal are right as well and are left out.
    """
    similarity = functional.normalize(texts, dim=-1) @ functional.normalize(images, dim=-1).T
    logits = similarity * scale.clamp(max=LARGEST_SCALE).exp()
    others = same & ~torch.eye(len(same), dtype=torch.bool)
    logits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(logits))
    return 0.5 * (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    )


@torch.no_grad()
def measure_retrieval(
    text: ClipTextModel, pictures: PictureTower, data: Captioned, tokens: Tensor
) -> Retrieval:
    """How often the nearest of all is one with the right caption."""
    texts = functional.normalize(text(tokens).projected, dim=-1)
    images = functional.normalize(pictures(data.images(slice(None))), dim=-1)
    similarity = texts @ images.T
    same = _same(tokens)
    rows = torch.arange(len(tokens))
    return Retrieval(
        pictures_by_caption=float(same[rows, similarity.argmax(1)].float().mean()),
        captions_by_picture=float(same[rows, similarity.argmax(0)].float().mean()),
        count=len(tokens),
    )


def _halve(inside: int, outside: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inside, outside, 3, stride=2, padding=1),
        nn.GroupNorm(8, outside),
        nn.GELU(),
    )


def _towers(sizes: TextSizesConfig, picture_size: int) -> tuple[ClipTextModel, PictureTower]:
    text = ClipTextModel(
        TextConfig(sizes.hidden_size, sizes.layers, sizes.heads, 4 * sizes.hidden_size)
    )
    text.initialise()
    return text, PictureTower(picture_size, sizes.hidden_size)


def _tokens(tokenizer: ClipTokenizer, captions: list[str]) -> Tensor:
    """Tokens [N, longest]: what follows the last END changes nothing that CLIP's causal transformer is asked for."""
    tokens = torch.tensor([tokenizer(caption) for caption in captions])
    longest = int((tokens == END).int().argmax(1).max()) + 1
    return tokens[:, :longest]


def _same(tokens: Tensor) -> Tensor:
    return (tokens[:, None] == tokens[None]).all(-1)


def _fit(
    text: ClipTextModel,
    pictures: PictureTower,
    data: Captioned,
    tokens: Tensor,
    config: ContrastConfig,
) -> None:
    scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    optimizer = torch.optim.AdamW(_groups(text, pictures, scale, config), betas=(0.9, 0.98))
    order = torch.Generator().manual_seed(config.seed)
    progress = tqdm(range(config.steps), desc="text encoder", file=sys.stderr)
    for step in progress:
        rate = config.learning_rate * cosine_factor(step, config.steps, config.warmup_steps, 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randint(len(tokens), (config.batch_size,), generator=order)
        loss = contrastive_loss(
            text(tokens[chosen]).projected,
            pictures(data.images(chosen)),
            scale,
            _same(tokens[chosen]),
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*text.parameters(), *pictures.parameters()], 1.0)
        optimizer.step()
        if step % 100 == 0 or step == config.steps - 1:
            LOG.info("step %d: loss %.3f", step, loss.item())


def _groups(
    text: ClipTextModel, pictures: PictureTower, scale: nn.Parameter, config: ContrastConfig
) -> list[dict[str, object]]:
    """Matrices and kernels decay. Embeddings do not: words that no caption has must keep their random vectors."""
    named = [*text.named_parameters(), *pictures.named_parameters()]
    decayed = [p for name, p in named if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in named if p.ndim <= 1 or "embedding" in name]
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [*others, scale], "weight_decay": 0.0},
    ]
