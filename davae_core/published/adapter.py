"""The published stage-2 files -> an adapter (docs/method.md, "Published checkpoints").

`step_N.pt` holds live heads, and EMA heads with an EMA LoRA; `pytorch_lora_weights.safetensors` the live LoRA. Both
are detail first and keep the base's and the detail's edge layers apart; an adapter is base first and fused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors, reason_of
from ..format import check_weights
from ..presets import SD3
from ..reading.json_text import parse_json
from ..reading.plain_text import plain
from ..reading.typed import Limits, build, picked
from ..transformer.adapter import DOWN, PREFIX, UP, Adapter, check_adapter, widened_edges
from ..transformer.description import Advice
from ..transformer.fingerprint import base_fingerprint
from ..transformer.merging import plan_merge
from ..transformer.names import EMBEDDER, EMBEDDER_WEIGHT, HEAD, HEAD_WEIGHT
from ..transformer.warm_start import join_head_rows
from .pickles import read_plain_weights

Weights = Literal["live", "ema"]
_EMA_PREFIX = "transformer.transformer."
_HEADS = {
    "live": ("model_state_dict", "tokenizer_patch_embed.proj.", "project_out."),
    "ema": ("ema_state_dict", f"{_EMA_PREFIX}{EMBEDDER}.", f"{_EMA_PREFIX}{HEAD}."),
}
"""Where step_N.pt keeps which heads: the state, and in it the prefixes of the patch embedder and the output head."""
LEAST_LIKENESS = 0.2
"""Cosine of a trained base layer to the one it started from; between different models it is about 0."""
_LORA_SETTINGS = "lora_adapter_metadata"


@dataclass(frozen=True)
class _Strength:
    """How strong a LoRA file's layers are, of the settings that its metadata holds."""

    r: Annotated[float, Limits(1, 1e6)]
    lora_alpha: Annotated[float, Limits(-1e6, 1e6)]


def holds_stage_two(source: Path) -> bool:
    """Whether a published checkpoint is stage 2's step_N.pt. Raises CheckpointError when it cannot be read."""
    if source.suffix == ".safetensors":
        return False
    wanted = "the published pytorch_model.bin (stage 1) or step_N.pt (stage 2)"
    loaded = read_plain_weights(source, wanted, mapped=True)
    return any(isinstance(loaded.get(state), dict) for state, *_ in _HEADS.values())


def convert_adapter(
    source: str | Path,
    base: Mapping[str, Tensor],
    weights: Weights,
    lora: str | Path | None = None,
    advice: Advice | None = None,
    parents: Mapping[str, str] | None = None,
) -> Adapter:
    """An adapter of published stage-2 files.

    `base`: the pretrained transformer under Stability's names, which the differences are taken from. `live` needs the
    `lora` file, `ema` takes everything from `source`. `parents`: what to remember beside the base's fingerprint. Raises
    CheckpointError.
    """
    source = Path(source)
    state = read_plain_weights(source, "the published step_N.pt")
    key, *prefixes = _HEADS[weights]
    heads = state.get(key)
    if not isinstance(heads, dict):
        raise CheckpointError(
            f"{source} holds no EMA weights: use --weights live with its LoRA file."
            if weights == "ema"
            else f"{source} holds no heads (model_state_dict): give a step_N.pt of the published stage 2."
        )
    heads = {name: held for name, held in heads.items() if isinstance(held, Tensor)}
    found = _live_lora(source, lora) if weights == "live" else _ema_lora(source, heads)
    check_weights(source, heads)
    try:
        fused = _fused_edges(heads, *prefixes)
        wide = widened_edges(base, SD3.layout)
        edges = {name: fused[name] - wide[name] for name in wide}
        _check_origin(heads, prefixes, base)
        known = {"base": base_fingerprint(base), **(parents or {})}
        adapter = Adapter(SD3.layout, found, edges, advice or Advice(), known)
        check_adapter(adapter)
        plan_merge(base, adapter)
    except KeyError as error:
        raise CheckpointError(
            f"{source} lacks {plain(str(error.args[0]))}, so it is no whole step_N.pt: get it again."
        ) from error
    except (
        ArithmeticError,
        IndexError,
        ValueError,
        RuntimeError,
        AttributeError,
        TypeError,
    ) as error:
        raise CheckpointError(
            f"{source if lora is None else f'{source} with {lora}'} does not fit this base "
            f"({reason_of(error)}): give the base it was trained on, in float32, float16 or bfloat16."
        ) from error
    return adapter


def _fused_edges(heads: Mapping[str, Tensor], patch: str, head: str) -> dict[str, Tensor]:
    """Base and detail layers of both edges as one each, base first, float32, under the keys of names.EDGES."""
    base_conv, extra_conv = heads[f"{patch}base_conv.weight"], heads[f"{patch}extra_conv.weight"]
    biases = heads[f"{patch}base_conv.bias"].float() + heads[f"{patch}extra_conv.bias"].float()
    rows = {
        f"{HEAD}.{kind}": join_head_rows(
            heads[f"{head}base_linear.{kind}"].float(),
            heads[f"{head}extra_linear.{kind}"].float(),
            len(heads[f"{head}base_linear.{kind}"]) // base_conv.shape[1],
        )
        for kind in ("weight", "bias")
    }
    convs = torch.cat([base_conv.float(), extra_conv.float()], dim=1)
    return {f"{EMBEDDER}.weight": convs, f"{EMBEDDER}.bias": biases, **rows}


def _check_origin(
    heads: Mapping[str, Tensor], prefixes: Sequence[str], base: Mapping[str, Tensor]
) -> None:
    """Raise ValueError when the trained base layers have nothing of this base in them, as another model's have not."""
    for name, target in (
        (f"{prefixes[0]}base_conv.weight", EMBEDDER_WEIGHT),
        (f"{prefixes[1]}base_linear.weight", HEAD_WEIGHT),
    ):
        trained, start = heads[name].float().flatten(), base[target].float().flatten()
        if torch.cosine_similarity(trained, start, dim=0) < LEAST_LIKENESS:
            raise ValueError(f"{name} has nothing of the base's own {target}")


def _live_lora(source: Path, lora: str | Path | None) -> dict[str, Tensor]:
    if lora is None:
        raise CheckpointError(
            f"The live weights of {source} have their LoRA in a file of its own: name it with --lora."
        )
    tensors, metadata = read_safetensors(lora)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if not any(name.endswith(DOWN) for name in found):
        raise CheckpointError(
            f"{lora} is not a LoRA: give the pytorch_lora_weights.safetensors beside the heads."
        )
    check_weights(lora, found)
    scale = _scale(lora, metadata)
    return {name: tensor * scale if name.endswith(UP) else tensor for name, tensor in found.items()}


def _scale(lora: str | Path, metadata: Mapping[str, str]) -> float:
    """alpha / r of the file; 1 where it does not say, as the published one is trained."""
    if _LORA_SETTINGS not in metadata:
        return 1.0
    try:
        settings: dict[str, Any] = parse_json(metadata[_LORA_SETTINGS])
        strength = build(_Strength, picked(_Strength, settings))
    except ValueError as error:
        raise CheckpointError(
            f"{lora} has damaged LoRA settings ({_LORA_SETTINGS} in its metadata): get the file again."
        ) from error
    unknown = [
        key
        for key in ("alpha_pattern", "rank_pattern", "use_rslora", "use_dora")
        if settings.get(key)
    ]
    if unknown:
        raise CheckpointError(
            f"{lora} is scaled in a way that the published training never does ({unknown[0]}): "
            "give the pytorch_lora_weights.safetensors beside the heads."
        )
    return strength.lora_alpha / strength.r


def _ema_lora(source: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {
        name.removeprefix(_EMA_PREFIX).replace(".default.weight", ".weight"): tensor
        for name, tensor in state.items()
        if ".lora_A." in name or ".lora_B." in name
    }
    if not found:
        raise CheckpointError(
            f"The EMA state of {source} holds no LoRA: use --weights live with its LoRA file."
        )
    return found
