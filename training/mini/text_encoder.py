"""Training the miniature's text encoder as CLIP was trained: captions and pictures find each other in a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from davae_core.mini.clip_tokenizer import END, ClipTokenizer
from davae_core.mini.text_encoder import TextConfig, clip_text_model, initialise
from davae_core.mini.text_encoder_files import read_text_encoder, write_text_encoder

from ..engine.checkpointing import MODEL, Contents, RunState, Trained
from ..engine.loop import run_to
from ..engine.optimizers import adamw, group_of
from ..engine.own_folder import own_folder
from ..engine.run import Run
from ..engine.updates import Parts
from .caption_pairs import Captioned, draw
from .text_config import HELD_OUT_SEED, ContrastConfig, TextSizesConfig, TextTrainingConfig

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


class Towers(nn.Module):
    """Both towers and the logarithm of the scale that their similarities are multiplied by."""

    def __init__(self, sizes: TextSizesConfig, picture_size: int) -> None:
        super().__init__()
        self.text = clip_text_model(
            TextConfig(sizes.hidden_size, sizes.layers, sizes.heads, 4 * sizes.hidden_size)
        )
        initialise(self.text)
        self.pictures = PictureTower(picture_size, sizes.hidden_size)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def train_text_encoder(
    config: TextTrainingConfig, stop_at: int | None = None
) -> tuple[Path, Retrieval] | None:
    """Train or resume, write the file, and measure what was written on scenes that training never saw.

    None when it stopped early with a checkpoint; `stop_at` ends it after that many steps in all, as an interruption
    would. Raises CheckpointError when a file cannot be written or CLIP's vocabulary is not installed, TrainingError
    when a checkpoint cannot be continued.
    """
    data, tokenizer = config.data, ClipTokenizer()
    train = draw(data.families, 0, data.pictures, data.size)
    with own_folder(config.settings().output.folder, "output.file"):
        run = TextTraining(config, train, _tokens(tokenizer, train.captions))
        path = run_to(run, stop_at)
    if path is None:
        return None
    held_out = draw(data.families, HELD_OUT_SEED, data.held_out, data.size)
    tokens = _tokens(tokenizer, held_out.captions)
    return path, measure_retrieval(
        read_text_encoder(path), run.towers.pictures.eval(), held_out, tokens
    )


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
    text: Any, pictures: PictureTower, data: Captioned, tokens: Tensor
) -> Retrieval:
    """How often the nearest of all is one with the right caption."""
    texts = functional.normalize(text(tokens).text_embeds, dim=-1)
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


def _tokens(tokenizer: ClipTokenizer, captions: list[str]) -> Tensor:
    """Tokens [N, longest]: what follows the last END changes nothing that CLIP's causal transformer is asked for."""
    tokens = torch.tensor([tokenizer(caption) for caption in captions])
    longest = int((tokens == END).int().argmax(1).max()) + 1
    return tokens[:, :longest]


def _same(tokens: Tensor) -> Tensor:
    return (tokens[:, None] == tokens[None]).all(-1)


class TextTraining(Run[torch.Tensor]):
    """Towers in training; a batch is the numbers of its captioned pictures, [B]."""

    shown_term = "loss"

    def __init__(self, config: TextTrainingConfig, data: Captioned, tokens: Tensor) -> None:
        super().__init__(config.settings(), config)
        self.config, self.data, self.tokens = config, data, tokens
        torch.manual_seed(config.train.seed)
        self.towers = Towers(config.model, config.data.size)
        optimizer = adamw(_groups(self.towers, config.train), (0.9, 0.98))
        parts = {MODEL: Trained(self.towers, optimizer)}
        self.start(parts, RunState(), frozen_key="", pictures_key="data.families")

    @property
    def target(self) -> Path:
        """The text encoder's file."""
        return Path(self.config.output.file).expanduser()

    def batches(self, first_step: int, stop_at: int) -> Iterator[Tensor]:
        """Numbers drawn with replacement."""
        order = torch.Generator().manual_seed(self.config.train.seed)
        for step in range(stop_at):
            # Drawn for the steps before a checkpoint too, so that the order goes on where it was.
            chosen = torch.randint(len(self.tokens), (self.share.size,), generator=order)
            if step >= first_step:
                yield chosen

    def backward(self, step: int, batch: Tensor, last: bool) -> Parts:
        """Add the gradients of the contrastive loss."""
        towers, tokens = self.towers, self.tokens[batch]
        images = towers.pictures(self.data.images(batch))
        loss = contrastive_loss(
            towers.text(tokens).text_embeds, images, towers.scale, _same(tokens)
        )
        self.accelerator.backward(loss)
        return {"loss": loss.detach()}

    def write_result(self, target: Path, contents: Contents) -> dict[str, object]:
        """Write the text tower; the picture tower is needed in training only."""
        write_text_encoder(target, self.towers.text)
        return {}


def _groups(towers: Towers, config: ContrastConfig) -> list[dict[str, Any]]:
    """Matrices and kernels decay. Embeddings do not: words that no caption has must keep their random vectors."""
    named = [*towers.text.named_parameters(), *towers.pictures.named_parameters()]
    decayed = [p for name, p in named if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in named if p.ndim <= 1 or "embedding" in name]
    rate = config.learning_rate
    return [
        group_of(decayed, rate, config.weight_decay),
        group_of([*others, towers.scale], rate, 0.0),
    ]
