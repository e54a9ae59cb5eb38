"""The transformer of stage 2: diffusers' SD3 model, from a pretrained file or from nothing, with what trains in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import inject_adapter_in_model
from torch import Tensor, nn

from davae_core.files import CheckpointError, reason_of
from davae_core.lightning.model import LightningDiT
from davae_core.transformer.description import Mode
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.names import EMBEDDER, HEAD, stability_to_diffusers
from davae_core.transformer.presets import LORA_TARGETS, SD35_MEDIUM
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import TransformerSizes, transformer_sizes

from ..engine.recomputing import recompute
from ..errors import TrainingError
from .config import DitModelConfig, LoraConfig
from .edges import split_edges

LORA_PARTS = (".lora_A.default.weight", ".lora_B.default.weight")


def read_base(config: DitModelConfig, channels: int) -> dict[str, Tensor] | None:
    """The pretrained transformer under Stability's names, None to start from nothing. Raises TrainingError."""
    if not config.base:
        return None
    path = Path(config.base).expanduser()
    try:
        tensors = load_transformer(path)
        sizes = transformer_sizes(tensors)
    except ValueError as error:
        reason = (
            str(error)
            if isinstance(error, CheckpointError)
            else f"{path} is no SD3: {reason_of(error)}."
        )
        raise TrainingError(f"model.base cannot be used: {reason}") from error
    if sizes.in_channels != channels:
        raise TrainingError(
            f"model.base {path} reads {sizes.in_channels} latent channels, but the base channels of model.vae are "
            f"{channels}: give the transformer that belongs to that VAE."
        )
    return tensors


def build_transformer(
    config: DitModelConfig,
    base: Mapping[str, Tensor] | None,
    channels: int,
    detail_channels: int,
    sizes: TransformerSizes | None = None,
    mode: Mode = "joint",
) -> nn.Module:
    """The model to train, its trainable parameters marked and in float32.

    `channels`: the base's; `detail_channels`: 0 for a plain model; `sizes`: None for those of `base` or, without one,
    of the configuration; `mode`: what it shall draw. Raises TrainingError when `base` does not fit or a LoRA target
    matches no layer.
    """
    if sizes is None:
        sizes = new_sizes(config, channels) if base is None else transformer_sizes(base)
    model = diffusers_transformer(sizes)
    if base is None:
        start_from_nothing(model)
    else:
        names = model.state_dict()
        try:
            model.load_state_dict(stability_to_diffusers(base, names))
        except (ValueError, RuntimeError) as error:
            raise TrainingError(
                f"model.base {config.base} is no whole SD3 transformer ({error})."
            ) from error
    if detail_channels:
        split_edges(model, detail_channels, config.zero_init)
    mark_trainable(model, config, bool(detail_channels))
    if mode == "detail":
        # Nothing is asked of the base's output, so nothing but weight decay would move it.
        model.get_submodule(f"{HEAD}.base").requires_grad_(False)
    return model


def start_from_nothing(model: nn.Module) -> None:
    """Weights that a fresh model learns well from, in place: every block starts as the identity, the output as zero."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if name.endswith(("norm1.linear", "norm1_context.linear", "norm_out.linear", HEAD)):
            nn.init.zeros_(module.weight)
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def mark_trainable(model: nn.Module, config: DitModelConfig, widened: bool) -> None:
    """Set `requires_grad` by the configuration, adding the LoRA of an adapter. Raises TrainingError."""
    if config.train == "full":
        model.requires_grad_(True)
        return
    model.requires_grad_(False)
    inject_adapter_in_model(
        PeftLoraConfig(
            r=config.lora.rank,
            lora_alpha=config.lora.alpha,
            init_lora_weights="gaussian",
            target_modules=lora_targets(model, config.lora),
        ),
        model,
    )
    if widened:
        # The new halves of the edges always train: zeros would never learn anything otherwise.
        part = "" if config.train_edges else ".detail"
        for edge in (EMBEDDER, HEAD):
            model.get_submodule(edge + part).requires_grad_(True)


def lora_targets(model: nn.Module, config: LoraConfig) -> list[str]:
    """The full names of the layers that get a LoRA. Raises TrainingError for a target that matches no linear layer."""
    wanted = [part for name in config.targets for part in LORA_TARGETS.get(name, (name,))]
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found: set[str] = set()
    for target in wanted:
        matches = [name for name in linear if name == target or name.endswith(f".{target}")]
        if not matches:
            raise TrainingError(
                f"model.lora.targets names {target}, which matches no linear layer of the transformer: use published, "
                f"wide, or the end of a layer's name such as {LORA_TARGETS['published'][0]}."
            )
        found.update(matches)
    return sorted(found)


def new_sizes(config: DitModelConfig, channels: int) -> TransformerSizes:
    """The sizes of a transformer that starts from nothing, in all else built as SD3.5 Medium."""
    new, heads = vars(config.sizes), config.sizes.blocks
    return replace(SD35_MEDIUM, in_channels=channels, out_channels=channels, heads=heads, **new)


def lower_frozen(model: nn.Module, precision: torch.dtype) -> None:
    """Keep frozen weights in `precision`: they need no float32 master copy."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(precision)


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of diffusers' SD3 transformer or of a LightningDiT."""
    name = "blocks" if isinstance(model, LightningDiT) else "transformer_blocks"
    return model.get_submodule(name).children()


def recompute_blocks(model: nn.Module, count: int) -> None:
    """Let the first `count` blocks be recomputed in the backward pass: less memory, slower.

    The first, because the backward pass comes to them when what the others keep is gone already. Raises TrainingError
    where there are fewer.
    """
    blocks = list(blocks_of(model))
    if count > len(blocks):
        raise TrainingError(
            f"train.recomputed_blocks is {count}, but the transformer has {len(blocks)} blocks: set it to that or less."
        )
    for block in blocks[:count]:
        recompute(block)
