"""Training the miniature's text encoder as CLIP was trained: captions and pictures find each other in a batch."""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from davae_core.mini.clip_tokenizer import END, ClipTokenizer
from davae_core.mini.text_encoder import TextConfig, clip_text_model, initialise
from davae_core.mini.text_encoder_files import read_text_encoder, write_text_encoder

from ..engine.checkpointing import (
    CheckpointFolder,
    RunState,
    Trained,
    collect,
    load_checkpoint,
    read_state,
)
from ..engine.ema import WeightAverage
from ..engine.interruption import Interruption
from ..engine.resuming import check_resumable
from ..engine.schedule import cosine_factor
from ..settings.yaml_config import flatten
from .caption_pairs import Captioned, draw
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
    data = config.data
    tokenizer = ClipTokenizer()
    train = draw(data.families, 0, data.pictures, data.size)
    torch.manual_seed(config.train.seed)
    towers = Towers(config.model, data.size)
    path = Path(config.output.file).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    run = _Run(config, towers, path.with_name(f"{path.stem}_checkpoints"))
    last = config.train.steps if stop_at is None else min(stop_at, config.train.steps)
    if not run.fit(train, _tokens(tokenizer, train.captions), last):
        return None
    write_text_encoder(path, towers.text)
    held_out = draw(data.families, HELD_OUT_SEED, data.held_out, data.size)
    tokens = _tokens(tokenizer, held_out.captions)
    return path, measure_retrieval(
        read_text_encoder(path), towers.pictures.eval(), held_out, tokens
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


class _Run:
    """Towers in training, their optimizer, and the latest checkpoint loaded when there is one."""

    def __init__(self, config: TextTrainingConfig, towers: Towers, folder: Path) -> None:
        self.config, self.towers = config, towers
        groups = _groups(towers, config.train)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.parts = {"towers": Trained(towers, self.optimizer)}
        # Of decay 0: the last weights are what is written.
        self.average = WeightAverage(towers, 0.0)
        self.checkpoints = CheckpointFolder(folder, keep=1)
        self.state = self._resumed_or_new()

    def fit(self, data: Captioned, tokens: Tensor, last: int) -> bool:
        """Train up to step `last`; whether that was the configured end."""
        config = self.config.train
        order = torch.Generator().manual_seed(config.seed)
        with Interruption() as interruption:
            for step in tqdm(range(last), desc="text encoder", file=sys.stderr):
                # Drawn for the steps before a checkpoint too, so that the order goes on where it was.
                chosen = torch.randint(len(tokens), (config.batch_size,), generator=order)
                if step < self.state.step:
                    continue
                loss = self._step(step, data.images(chosen), tokens[chosen])
                if step % 100 == 0 or step == config.steps - 1:
                    LOG.info("step %d: loss %.3f", step, loss.item())
                due = self.state.step % self.config.output.checkpoint_every == 0
                if due or interruption.requested or self.state.step == last:
                    self.checkpoints.save(self.state, collect(self.average, self.parts))
                if interruption.requested:
                    break
        return self.state.step == config.steps

    def _step(self, step: int, images: Tensor, tokens: Tensor) -> Tensor:
        config, towers = self.config.train, self.towers
        rate = config.learning_rate * cosine_factor(step, config.steps, config.warmup_steps, 0.01)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = contrastive_loss(
            towers.text(tokens).text_embeds, towers.pictures(images), towers.scale, _same(tokens)
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clipped = [*towers.text.parameters(), *towers.pictures.parameters()]
        nn.utils.clip_grad_norm_(clipped, 1.0)
        self.optimizer.step()
        self.average.update()
        self.state.step += 1
        return loss

    def _resumed_or_new(self) -> RunState:
        settings, batch = flatten(self.config), self.config.train.batch_size
        latest = self.checkpoints.latest()
        if latest is None:
            return RunState(samples_per_step=batch, config=settings)
        check_resumable(read_state(latest), settings, batch, "")
        LOG.info("resuming from %s", latest)
        return load_checkpoint(latest, self.average, self.parts)


def _groups(towers: Towers, config: ContrastConfig) -> list[dict[str, object]]:
    """Matrices and kernels decay. Embeddings do not: words that no caption has must keep their random vectors."""
    named = [*towers.text.named_parameters(), *towers.pictures.named_parameters()]
    decayed = [p for name, p in named if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in named if p.ndim <= 1 or "embedding" in name]
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [*others, towers.scale], "weight_decay": 0.0},
    ]
