"""A step of either training, forward, backward and AdamW: python -m training's own modules, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.presets import SD3
from davae_core.transformer.presets import LORA_RANK, SD35_MEDIUM
from training.dit.config import DitModelConfig, LoraConfig
from training.dit.denoiser import Denoiser
from training.dit.transformer import build_transformer, recompute_blocks
from training.engine.optimizers import build_optimizer
from training.settings.run_config import OptimizerConfig
from training.vae.gradient_checkpointing import checkpoint_blocks
from training.vae.trainees import DetailTrainee

from .case import Case, weight_bytes
from .scale import Scale
from .transformers import LATENTS
from .turns import Ways

_ADAMW = OptimizerConfig(kind="adamw", betas=(0.9, 0.999))
_BATCHES = 2
"""How many of the scale's batches a step is taken with; the larger ones are for drawing."""


def cases(scale: Scale) -> Iterator[Case]:
    """Stage 2 beside a LoRA of the stock model for the same pictures, then stage 1; each with blocks recomputed too."""
    side = scale.sides[0]
    for recomputed in (0, scale.blocks):
        models = {
            "ours": _denoiser(scale, True, recomputed),
            "stock": _denoiser(scale, False, recomputed),
        }
        weights = {who: weight_bytes(model) for who, model in models.items()}
        variant = "all blocks recomputed" if recomputed else ""
        for batch in scale.batches[:_BATCHES]:
            ways = {
                who: _stage2(model, LATENTS[who], scale, side, batch)
                for who, model in models.items()
            }
            yield _case("stage 2", side, batch, ways, weights, variant)
    for variant in ("", "all blocks recomputed"):
        trainee = _trainee(scale, bool(variant))
        alone: Ways = {"ours": _stage1(trainee, scale, side // 2)}
        yield _case("stage 1", side // 2, 1, alone, {"ours": weight_bytes(trainee)}, variant)


def _case(
    stage: str, side: int, batch: int, ways: Ways, weights: dict[str, int], variant: str
) -> Case:
    return Case("training", stage, side, batch, ways, weights, variant, learns=True)


def _denoiser(scale: Scale, widened: bool, recomputed: int) -> Denoiser:
    """Frozen weights in the scale's type, what trains in float32, as the trainer has them."""
    duals = tuple(block for block in SD35_MEDIUM.dual_blocks if block < scale.blocks)
    # A cell of the stock latent is half as wide, a token two cells.
    positions = max(scale.sides) // SD3.layout.base_factor // SD35_MEDIUM.patch
    sizes = replace(SD35_MEDIUM, blocks=scale.blocks, dual_blocks=duals, positions=positions)
    config = DitModelConfig(base="base", vae="vae", lora=LoraConfig(LORA_RANK, LORA_RANK))
    layout = SD3.layout
    torch.manual_seed(0)
    detail = layout.detail_channels if widened else 0
    with torch.device(scale.device):
        built = build_transformer(config, None, layout.base_channels, detail, sizes)
    recompute_blocks(built, recomputed)
    for parameter in built.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(scale.dtype)
    return Denoiser(built)


def _stage2(
    model: Denoiser, latent: tuple[int, int], scale: Scale, side: int, batch: int
) -> Callable[[], None]:
    channels, factor = latent

    def random(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, device=scale.device)

    latents, sigma = random(channels, side // factor, side // factor), random().sigmoid()
    context = random(scale.words, model.context_width)
    pooled = random(model.pooled_width)
    return _step(model, scale, lambda: model(latents, sigma, context, pooled).square().mean())


def _trainee(scale: Scale, recomputed: bool) -> DetailTrainee:
    torch.manual_seed(0)
    with torch.device(scale.device):
        trainee = DetailTrainee(DetailAlignedVAE(SD3), base_target=False)
    if recomputed:
        checkpoint_blocks(trainee)
    return trainee.train()


def _stage1(trainee: DetailTrainee, scale: Scale, crop: int) -> Callable[[], None]:
    """Of one crop, with the squared error alone: LPIPS and the discriminator need weights that nobody has random."""
    images = torch.rand(1, 3, crop, crop, device=scale.device) * 2 - 1
    noise = torch.randn(1, *trainee.noise_shape(crop), device=scale.device)
    keep = torch.ones(1, 1, 1, 1, device=scale.device)

    def loss() -> Tensor:
        made = trainee(images, noise, keep)
        return (made.reconstruction - made.target).square().mean()

    return _step(trainee, scale, loss)


def _step(model: nn.Module, scale: Scale, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = build_optimizer(model, _ADAMW)
    mixed = scale.dtype != torch.float32

    def step() -> None:
        with torch.autocast(scale.device, dtype=torch.bfloat16, enabled=mixed):
            found = loss()
        found.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
