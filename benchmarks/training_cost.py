"""What training at the size of Stable Diffusion 3.5 Medium would take: ``python -m benchmarks.training_cost``.

Nothing is trained here. The bytes of a cached picture are those of a shard that is written. The dry run is the
trainer's own, on a base of the real names and shapes (zeros, in a sparse file) and on a cache's index. Operations are
counted by PyTorch on tensors without memory, forward and backward, every block recomputed where nothing else is said.
Hours are those operations over a GPU's published peak times an assumed share of it: estimates, which nothing has
confirmed.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.files import write_text
from davae_core.latents import LatentLayout
from davae_core.presets import SD3
from davae_core.transformer.presets import SD35_MEDIUM
from training.cache.head import CacheHead, write_head
from training.cache.latent_cache import write_texts
from training.cache.shard_files import CachedPicture, shard_path, write_shard
from training.cache.text_states import TextStates
from training.dit.config import DitModelConfig, DitTrainingConfig
from training.dit.denoiser import Denoiser
from training.dit.plan import plan_run
from training.dit.transformer import build_transformer, new_sizes, recompute_blocks
from training.settings.yaml_config import read_config
from training.vae.gradient_checkpointing import checkpoint_blocks
from training.vae.trainees import DetailTrainee

from .full_size.files import base_shapes, transformer_without_weights
from .training_kept import kept_bytes

CONFIGS = Path("training/configs")
CLIP_TOKENS, CLIP_WIDTH = 77, 2048
T5_ENCODER = 4.76e9
"""Parameters of T5-XXL's encoder; a token costs two operations for each."""
TERA = 1e12
SHARE = 0.3
"""Assumed share of the peak that a training reaches."""


@dataclass(frozen=True)
class Machine:
    """GPUs and the peak of one in dense bfloat16 with float32 sums, operations per second, by its data sheet."""

    name: str
    gpus: int
    peak: float

    def hours(self, operations: float) -> float:
        """Hours for so many operations at the assumed share of the peak."""
        return operations / (self.gpus * self.peak * SHARE) / 3600


MACHINES = (Machine("one RTX 4090", 1, 165e12), Machine("eight H100 SXM", 8, 989e12))


@dataclass(frozen=True)
class Job:
    """A training of the guide: its length in pictures and the operations of one."""

    name: str
    pictures: int
    operations: float


def picture_bytes(t5_tokens: int, side: int, count: int = 4) -> int:
    """Bytes that a square picture takes in a shard with one window, found by writing `count` of them."""
    layout = SD3.layout
    cells = side // layout.factor
    pictures = [CachedPicture(f"{n}", "", cells, cells, 1) for n in range(count)]
    latents = [torch.zeros(1, layout.channels, cells, cells, dtype=torch.float16)] * count
    with tempfile.TemporaryDirectory() as folder:
        path = shard_path(Path(folder), 0)
        write_shard(path, pictures, latents, [_no_text(t5_tokens)] * count, {})
        return path.stat().st_size // count


def _no_text(t5_tokens: int) -> TextStates:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, *shape, dtype=torch.float16)

    t5 = zeros(t5_tokens, SD35_MEDIUM.context_width) if t5_tokens else None
    return TextStates(zeros(CLIP_TOKENS, CLIP_WIDTH), t5, zeros(SD35_MEDIUM.pooled_width))


def dry_run(config: Path, overrides: tuple[str, ...], t5_tokens: int, pictures: int) -> list[str]:
    """What the trainer's dry run says of a configuration, for so many square pictures of 1024 px."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_empty_base(folder / "base.safetensors")
        write_empty_cache(folder / "cache", t5_tokens, pictures)
        stand_ins = (f"model.base={folder}/base.safetensors", f"data.caches=[{folder}/cache]")
        return list(
            plan_run(read_config(DitTrainingConfig, config, (*overrides, *stand_ins))).lines()
        )


def write_empty_base(path: Path) -> None:
    """A file with SD3.5 Medium's tensor names and shapes in bfloat16."""
    write_zeros(path, base_shapes(transformer_without_weights()), "BF16")


def write_zeros(path: Path, shapes: Mapping[str, Sequence[int]], dtype: str) -> None:
    """A file of tensors of a two-byte type, all zeros, which takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * 2
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def write_empty_cache(folder: Path, t5_tokens: int, pictures: int) -> None:
    """A cache of square pictures of 1024 px, all zeros, which takes no room on the disk."""
    layout = SD3.layout
    folder.mkdir()
    write_head(folder, CacheHead(layout, "", "", {}, (), 1, ""))
    write_texts(folder, _no_text(t5_tokens), [])
    cells = 1024 // layout.factor
    entries = tuple(CachedPicture(str(n), ("",), cells, cells, 1) for n in range(pictures))
    path = shard_path(folder, 0)
    shapes: dict[str, Sequence[int]] = {}
    words = _no_text(t5_tokens)
    for number in range(pictures):
        shapes[f"latent.{number}"] = (1, layout.channels, cells, cells)
        text = words.tensors(str(number))
        shapes |= {name: tuple(tensor.shape) for name, tensor in text.items()}
    write_zeros(path, shapes, "F16")
    index = {"sha256": "", "pictures": [vars(entry) for entry in entries], "left_out": {}}
    write_text(path.with_suffix(".json"), json.dumps(index))


def stage2_operations(
    model: DitModelConfig,
    layout: LatentLayout,
    side: int,
    words: int,
    recomputed: int | None = None,
) -> float:
    """Operations of a stage-2 training step for one square picture of `side` pixels and a text of `words` tokens.

    `recomputed`: how many blocks are computed again in the backward pass, None all.
    """
    sizes = new_sizes(model, layout.base_channels)
    with torch.device("meta"):
        transformer = build_transformer(
            model, None, layout.base_channels, layout.detail_channels, sizes
        )
        recompute_blocks(transformer, sizes.blocks if recomputed is None else recomputed)
        cells = side // layout.factor
        latents = torch.empty(1, layout.channels, cells, cells)
        text = torch.empty(1, words, sizes.context_width), torch.empty(1, sizes.pooled_width)
        with FlopCounterMode(display=False) as counted:
            velocity: Tensor = Denoiser(transformer)(latents, torch.empty(1), *text)
            velocity.square().mean().backward()
    return float(counted.get_total_flops())


def stage1_operations(config: CodecConfig, crop: int, base_target: bool) -> float:
    """Operations of a stage-1 training step for one crop, LPIPS on VGG included, without a GAN."""
    with torch.device("meta"):
        trainee = DetailTrainee(DetailAlignedVAE(config), base_target=base_target)
        checkpoint_blocks(trainee)
        trainee.train()
        vgg: nn.Module = torchvision.models.vgg16().features.requires_grad_(False)
        images, noise = torch.empty(1, 3, crop, crop), torch.empty(1, *trainee.noise_shape(crop))
        with FlopCounterMode(display=False) as counted:
            made = trainee(images, noise, torch.empty(1, 1, 1, 1))
            (vgg(made.reconstruction) - vgg(made.target)).square().mean().backward()
    return float(counted.get_total_flops())


def cache_operations(config: CodecConfig, side: int, t5_tokens: int) -> float:
    """Operations of encoding a square picture and its caption by T5; CLIP is small beside it and left out."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counted:
        DetailAlignedVAE(config).encode_moments(torch.empty(1, 3, side, side))
    return float(counted.get_total_flops()) + 2 * T5_ENCODER * t5_tokens


def jobs() -> list[Job]:
    """The trainings that docs/training.md describes."""
    trained = replace(SD3, shared_trunk=False)
    published = read_config(DitTrainingConfig, CONFIGS / "sd35_published.yaml").model

    def stage2(side: int, t5_tokens: int) -> float:
        return stage2_operations(published, SD3.layout, side, CLIP_TOKENS + t5_tokens)

    return [
        Job("stage 1, frozen trunk, crops of 512 px", 384_000, stage1_operations(SD3, 512, False)),
        Job("stage 1, trained trunk, crops of 512 px", 384_000, stage1_operations(trained, 512, False)),
        Job("stage 1, trained trunk, crops of 1024 px", 384_000, stage1_operations(trained, 1024, False)),
        Job("stage 1, published_sd3.yaml's loss, crops of 1024 px", 384_000, stage1_operations(SD3, 1024, True)),
        Job("cache, 1024 px, 256 T5 tokens", 10_000, cache_operations(SD3, 1024, 256)),
        Job("stage 2, 1024 px, 256 T5 tokens", 320_000, stage2(1024, 256)),
        Job("stage 2, 1024 px, 512 T5 tokens", 4_800_000, stage2(1024, 512)),
        Job("stage 2, 2048 px, 512 T5 tokens", 4_800_000, stage2(2048, 512)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A step of stage 2 for one picture: operations of the transformer with every block recomputed and with none.

    `encoding` is what the published step computes beside: both latents and T5, which are cached here. `kept`: bytes for
    the backward pass, every block recomputed and none.
    """

    name: str
    recomputed: float
    whole: float
    encoding: float
    kept: tuple[int, int]


def steps() -> list[Step]:
    """The steps of the guide's sizes."""
    model, found = read_config(DitTrainingConfig, CONFIGS / "sd35_published.yaml").model, []
    for side, t5_tokens in ((1024, 256), (1024, 512), (2048, 512)):
        words = CLIP_TOKENS + t5_tokens
        every, none = model.sizes.blocks, 0
        operations = (
            stage2_operations(model, SD3.layout, side, words, count) for count in (every, none)
        )
        kept = tuple(kept_bytes(model, SD3.layout, side, words, count) for count in (every, none))
        encoding = cache_operations(SD3, side, t5_tokens)
        found.append(
            Step(f"{side} px, {t5_tokens} T5 tokens", *operations, encoding, (kept[0], kept[1]))
        )
    return found


def steps_table(found: list[Step]) -> list[str]:
    """Ours against the published step, and what recomputing costs and gives back."""
    lines = [
        "| | TFLOP published | ours, all blocks recomputed | ours, none | kept, all recomputed | kept, none |",
        "|---|---|---|---|---|---|",
    ]
    for step in found:
        published = step.recomputed + step.encoding
        ours = (
            f"{cost / TERA:.2f} ({published / cost:.2f}x)" for cost in (step.recomputed, step.whole)
        )
        kept = (f"{size / 2**30:.2f} GiB" for size in step.kept)
        lines.append(f"| {step.name} | {published / TERA:.2f} | {' | '.join((*ours, *kept))} |")
    return lines


def hours_text(hours: float) -> str:
    """Two or three digits, as many as an estimate deserves."""
    return f"{hours:.{2 if hours < 1 else 1 if hours < 100 else 0}f}"


def jobs_table(found: list[Job]) -> list[str]:
    """Operations and hours of each job."""
    names = [machine.name for machine in MACHINES]
    lines = [
        f"| | TFLOP per picture | pictures | {' | '.join(f'hours on {name}' for name in names)} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for job in found:
        hours = [machine.hours(job.pictures * job.operations) for machine in MACHINES]
        cells = " | ".join(hours_text(value) for value in hours)
        lines.append(f"| {job.name} | {job.operations / TERA:.1f} | {job.pictures:,} | {cells} |")
    return lines


def bytes_row(t5_tokens: int, size: int) -> str:
    """A cached picture's bytes as a line of a table."""
    return f"| {t5_tokens} | {size:,} | {size * 10_000 / 1e9:.1f} GB |"


def report() -> list[str]:
    """Everything, as lines of Markdown."""
    one_gpu = ("train.batch_size=4", "train.accumulate=8")
    lines = [
        "# What training at the size of Stable Diffusion 3.5 Medium would take",
        "",
        "Written by `python -m benchmarks.training_cost`, whose first lines say what is counted and what assumed. "
        "**Nothing has been trained at this size; all hours and all memory are estimates.**",
        "",
        "## Bytes of a cached picture of 1024 × 1024 px",
        "",
        "| T5 tokens | bytes per picture | 10,000 pictures |",
        "|---|---|---|",
        *(bytes_row(tokens, picture_bytes(tokens, 1024)) for tokens in (0, 256, 512)),
        "",
        "## Dry runs, 10,000 square pictures of 1024 px",
        "",
    ]
    for name, overrides, tokens in (
        ("sd35_published.yaml", (), 512),
        ("sd35_paper.yaml", one_gpu, 256),
    ):
        said = dry_run(CONFIGS / name, overrides, tokens, 10_000)
        lines += [
            f"{' '.join((name, *overrides))}, {tokens} T5 tokens:",
            "",
            *(f"    {x}" for x in said),
            "",
        ]
    peaks = ", ".join(f"{machine.name} {machine.peak / TERA:g}" for machine in MACHINES)
    lines += [
        "## Operations and hours",
        "",
        f"Assumed: {SHARE:.0%} of the peak in dense bfloat16, TFLOP per second and GPU: {peaks}.",
        "",
        *jobs_table(jobs()),
        "",
        "## A step of stage 2 against the published one",
        "",
        "Per picture, by counting. The published step recomputes every block, encodes the picture at both sizes and "
        "reads the caption by T5; ours has both from the cache. Kept for the backward pass: in bfloat16, beside the "
        "weights.",
        "",
        *steps_table(steps()),
    ]
    return lines


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    found.add_argument(
        "-o", "--output", type=Path, default=Path("benchmarks/training_cost.md"), metavar="FILE.md"
    )
    return found


def main() -> None:
    options = parser().parse_args()
    write_text(options.output, "\n".join(report()) + "\n")


if __name__ == "__main__":
    main()
