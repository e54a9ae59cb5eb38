"""What the parts of a stage-2 step take on a CPU, before and after: ``python -m benchmarks.training_step``.

A transformer of width 512 with 8 blocks of SD3.5 Medium's build and a LoRA of rank 64, two pictures of 512 px and 77
words, float32. Before: AdamW and the averages one tensor after another, as they were; every block recomputed. After:
the trainer's own. Only ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from davae_core.presets import SD3
from training.dit.config import DitModelConfig, LoraConfig, NewSizesConfig
from training.dit.denoiser import Denoiser
from training.dit.transformer import build_transformer, new_sizes, recompute_blocks
from training.engine.ema import WeightAverage
from training.engine.optimizers import build_optimizer
from training.settings.run_config import OptimizerConfig

from .timing import in_turns, machine, row

BLOCKS, SIDE, BATCH, WORDS = 8, 32, 2, 77
ADAMW = OptimizerConfig(kind="adamw", betas=(0.9, 0.999))


def denoiser(recomputed: int) -> Denoiser:
    """The small transformer with what trains in it, so many blocks recomputed."""
    config = DitModelConfig(
        base="base",
        vae="vae",
        sizes=NewSizesConfig(BLOCKS, tuple(range(BLOCKS // 2)), 512, 256, 64),
        lora=LoraConfig(rank=64, alpha=64),
    )
    torch.manual_seed(0)
    sizes = new_sizes(config, SD3.layout.base_channels)
    transformer = build_transformer(config, None, 16, 16, sizes)
    recompute_blocks(transformer, recomputed)
    return Denoiser(transformer)


def backward(model: Denoiser) -> Tensor:
    """Forward and backward pass of a step."""
    latents, words = torch.zeros(BATCH, 32, SIDE, SIDE), torch.zeros(BATCH, WORDS, 512)
    loss = model(latents, torch.full((BATCH,), 0.5), words, torch.zeros(BATCH, 256)).square().mean()
    loss.backward()
    return loss


def forward(model: Denoiser) -> Tensor:
    """The forward pass alone, as it is when gradients are wanted."""
    latents, words = torch.zeros(BATCH, 32, SIDE, SIDE), torch.zeros(BATCH, WORDS, 512)
    return model(latents, torch.full((BATCH,), 0.5), words, torch.zeros(BATCH, 256))


def average_apart(average: WeightAverage) -> None:
    """The averages as they were taken before: one tensor after another."""
    values = dict(average.module.named_parameters())
    with torch.no_grad():
        for name, mean in average.means.items():
            mean.lerp_(values[name].detach().float(), 0.001)


def clip(parameters: list[nn.Parameter], foreach: bool) -> None:
    """The gradients' norm, and the gradients scaled by it."""
    nn.utils.clip_grad_norm_(parameters, 1e6, foreach=foreach)


def ways() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each part of a step: as it was, and as it is."""
    model, thrifty = denoiser(0), denoiser(BLOCKS)
    backward(model)
    parameters = [value for value in model.parameters() if value.requires_grad]
    plain = torch.optim.AdamW(parameters, lr=1e-4, fused=False, foreach=False)
    fused, average = build_optimizer(model, ADAMW), WeightAverage(model, 0.999)
    return {
        "forward (all blocks recomputed / none)": (partial(forward, thrifty), partial(forward, model)),
        "forward and backward (all recomputed / none)": (partial(backward, thrifty), partial(backward, model)),
        "AdamW (one by one / fused)": (plain.step, fused.step),
        "clipping (one by one / foreach)": (partial(clip, parameters, False), partial(clip, parameters, True)),
        "averages (one by one / foreach)": (partial(average_apart, average), average.update),
    }  # fmt: skip


def report(rounds: int) -> list[str]:
    """The table."""
    lines = [machine(), "", "| part of a step | before, ms | after, ms | |", "|---|---|---|---|"]
    for what, (before, after) in ways().items():
        found = in_turns({"before": before, "after": after}, rounds)
        lines.append(row(what, found["before"], found["after"]))
    return lines


def main() -> None:
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    found.add_argument("--rounds", type=int, default=7)
    print("\n".join(report(found.parse_args().rounds)))


if __name__ == "__main__":
    main()
