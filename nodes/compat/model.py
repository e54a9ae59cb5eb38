"""A widened Stable Diffusion 3.5 as ComfyUI's MODEL: an ordinary one, which every stock node takes.

Once `register` was called, ComfyUI's stock loaders read merged files too.
"""

import json
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ...davae_core.codec import stock_saved
from ...davae_core.files import CheckpointError, read_shapes
from ...davae_core.latents import LatentLayout, to_model_space, to_vae_space
from ...davae_core.presets import SD3
from ...davae_core.reading.json_text import parse_json
from ...davae_core.reading.plain_text import plain
from ...davae_core.transformer.adapter import Adapter, read_adapter
from ...davae_core.transformer.description import (
    DESCRIPTION,
    Advice,
    ModelDescription,
    description_tensor,
    read_description,
)
from ...davae_core.transformer.fingerprint import require_same_base
from ...davae_core.transformer.merging import plan_files
from ...davae_core.transformer.pretrained import PREFIXES, transformer_part
from ...davae_core.transformer.widened_model import is_widened, widen_model
from .edges import watch_edges
from .features import supported
from .host import warn

PREVIEW_DECODER = "davae_taesd3_decoder"
"""What the padded preview decoder's file in models/vae_approx is called (`davae preview-decoder` writes it)."""
BASE_SHIFT = float(comfy.supported_models.SD3.sampling_settings["shift"])
"""The schedule's shift of the pretrained model, which a model without adapter still is."""
WEIGHT_TYPES: dict[str, dict[str, Any]] = {
    "default": {},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}
"""The stock loader's choices of weight types and the options they mean to ComfyUI."""
QUANTISATION = "_quantization_metadata"
"""Where ComfyUI's own quantised files say in their metadata which layers are quantised, and how."""
STOCK_CELL = 8
"""Pixels of a side that ComfyUI's nodes for areas count for a latent cell, whatever the latent."""
BASE_IS_GIVEN = "davae_base_is_given"
"""The transformer option that says: the base channels of the latent are the ones to draw the detail on."""


class DetailAlignedLatent(comfy.latent_formats.LatentFormat):  # type: ignore[misc]
    """ComfyUI's description of our latent: VAE space <-> model space, size and previews."""

    def __init__(self, layout: LatentLayout = SD3.layout) -> None:
        self.layout = layout
        self.latent_channels = layout.channels
        self.spacial_downscale_ratio = layout.factor
        self.scale_factor, self.shift_factor = layout.base_scale, layout.base_shift
        if _base_is_sd3s(layout):
            # In model space the base channels are an SD3 latent; the detail adds nothing to a preview's colours.
            sd3 = comfy.latent_formats.SD3()
            nothing = [[0.0, 0.0, 0.0] for _ in range(layout.detail_channels)]
            self.latent_rgb_factors = [*sd3.latent_rgb_factors, *nothing]
            self.latent_rgb_factors_bias = sd3.latent_rgb_factors_bias
            if layout.detail_channels == SD3.layout.detail_channels:
                self.taesd_decoder_name = PREVIEW_DECODER

    def process_in(self, latent: Tensor) -> Tensor:
        """VAE space -> model space. Raises ValueError for a latent of another number of channels."""
        if latent.shape[1] != self.layout.channels:
            raise ValueError(
                f"The latent has {latent.shape[1]} channels, but the DA-VAE model draws {self.layout.channels}: "
                "make it with DA-VAE Encode or Empty DA-VAE Latent, put Lock DA-VAE Base before the sampler to draw "
                "detail on it, or use the model this latent was made for."
            )
        return to_model_space(latent, self.layout)

    def process_out(self, latent: Tensor) -> Tensor:
        """Model space -> VAE space."""
        return to_vae_space(latent, self.layout)


def _base_is_sd3s(layout: LatentLayout) -> bool:
    """Whether the base channels are latents of Stable Diffusion 3's VAE, whatever detail stands behind them."""
    ours, theirs = (
        (found.base_channels, found.base_factor, found.base_shift, found.base_scale)
        for found in (layout, SD3.layout)
    )
    return ours == theirs


class DetailAlignedTransformer(comfy.model_base.SD3):  # type: ignore[misc]
    """ComfyUI's model object: Stable Diffusion 3's, which does not draw detail on a base that nobody gave it."""

    def apply_model(self, x: Tensor, t: Tensor, *args: Any, **conditions: Any) -> Any:
        """What every sampler calls. Raises ValueError for a detail adapter in a sampler that draws the base too."""
        given = conditions.get("transformer_options", {}).get(BASE_IS_GIVEN, False)
        if self.model_config.description.mode == "detail" and not given:
            raise ValueError(no_base_given("This sampler", self.model_config.source))
        crowded = too_many_tokens("This sampler", self, x.shape)
        if crowded is not None:
            raise ValueError(crowded)
        self._warn_of_size(x, conditions.get("transformer_options", {}).get("sample_sigmas"))
        return super().apply_model(x, t, *args, **conditions)

    def extra_conds(self, **conditions: Any) -> Any:
        """What ComfyUI makes of a prompt. Raises ValueError for one of an area that begins outside the latent."""
        outside = _area_outside(conditions.get("area"), conditions.get("noise"))
        if outside is not None:
            raise ValueError(outside)
        return super().extra_conds(**conditions)

    def _warn_of_size(self, x: Tensor, sampling: Tensor | None) -> None:
        """Once in every sampling, which its noise levels are known by: a size far from the trained ones is plaid."""
        described, told = self.model_config.description, getattr(self, "_told_of", None)
        if sampling is None or sampling is told:
            return
        self._told_of = sampling
        height, width = (side * described.layout.factor for side in x.shape[-2:])
        if not described.advice.is_near(width, height):
            warn(
                f"The DA-VAE model ({self.model_config.source}) draws {width}x{height} pixels, but was trained at "
                f"{described.advice.trained_words}: expect a picture that falls apart, or use one of these sizes."
            )


def _area_outside(area: Any, noise: Any) -> str | None:
    """The sentence for an area (height, width, y, x) in cells that begins outside the latent `noise` [B, C, h, w]."""
    if area is None or noise is None or len(area) != 4:
        return None
    (rows, columns), (top, left) = noise.shape[-2:], area[2:]
    if top < rows and left < columns:
        return None
    counted = f"x {STOCK_CELL * left} and y {STOCK_CELL * top}"
    return (
        f"A prompt is for an area that begins at {counted}, where the latent of {columns} x {rows} cells has ended: "
        f"Conditioning (Set Area) counts {STOCK_CELL} pixels for a cell and a DA-VAE latent has twice as many, so "
        "halve its four numbers; with percentages, begin further left and further up."
    )


def too_many_tokens(node: str, model: Any, shape: torch.Size) -> str | None:
    """The sentence for a latent [..., h, w] of more rows or columns of tokens than the model has positions for."""
    config, transformer = model.model_config, model.diffusion_model
    most = getattr(transformer, "pos_embed_max_size", None)
    tokens = max(-(-side // int(transformer.patch_size)) for side in shape[-2:])
    if most is None or tokens <= most:
        return None
    height, width = (side * config.description.layout.factor for side in shape[-2:])
    return (
        f"{node} got a latent of {width}x{height} pixels, which is {tokens} tokens along one side, but the DA-VAE "
        f"model ({config.source}) has positions for {int(most)}: use a smaller latent."
    )


def no_base_given(node: str, source: str) -> str:
    """The sentence for a model that draws the detail alone, from `source`, in a `node` that draws the base too."""
    return (
        f"{node} draws base and detail together, but the DA-VAE model ({source}) draws the detail alone on a base that "
        "is there already: use DA-VAE Detail Sampler, or put Lock DA-VAE Base before the sampler."
    )


class DetailAlignedSD3(comfy.supported_models.SD3):  # type: ignore[misc]
    """Stable Diffusion 3.5 with the channels of a detail-aligned latent, as ComfyUI detects it.

    What the file says of itself (davae_core/transformer/description.py) decides the latent and the schedule's shift.
    """

    unet_config = {  # noqa: RUF012 - ComfyUI reads these as class attributes
        "in_channels": SD3.layout.channels,
        "out_channels": SD3.layout.channels,
        "pos_embed_scaling_factor": None,
    }
    latent_format = DetailAlignedLatent
    description = ModelDescription(SD3.layout)
    source = "a merged file"

    @classmethod
    def matches(
        cls,
        unet_config: dict[str, Any],
        state_dict: dict[str, Tensor] | None = None,
        unet_key_prefix: str = "",
    ) -> bool:
        """Whether ComfyUI found one of ours: SD3.5's channels, or any others where the tensors describe themselves."""
        if super().matches(unet_config, state_dict):
            return True
        described = any(name.endswith(DESCRIPTION) for name in state_dict or ())
        # Only Stable Diffusion 3's kind of transformer has this entry.
        return described and "pos_embed_scaling_factor" in unet_config

    def __init__(self, unet_config: dict[str, Any]) -> None:
        super().__init__(unet_config)
        device = comfy.model_management.get_torch_device()
        self.supported_inference_dtypes = inference_types(
            comfy.model_management.should_use_bf16(device)
        )

    def get_model(
        self, state_dict: dict[str, Tensor], prefix: str = "", device: torch.device | None = None
    ) -> Any:
        """ComfyUI's model object; takes the description out of `state_dict`, which is loaded next."""
        told = state_dict.pop(prefix + DESCRIPTION, None)
        if told is not None:
            self.description = read_description(told)
        self.latent_format = DetailAlignedLatent(self.description.layout)
        self.sampling_settings["shift"] = self.description.advice.shift
        return DetailAlignedTransformer(self, device=device)

    def process_vae_state_dict(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a stock loader makes a VAE of: nothing of a DA-VAE in the checkpoint, which only Load DA-VAE reads."""
        if stock_saved.prefix_of(state_dict) is None:
            return super().process_vae_state_dict(state_dict)  # type: ignore[no-any-return]
        warn(
            "The checkpoint holds a DA-VAE, which ComfyUI's own loader has no VAE for: choose the same file in Load "
            "DA-VAE, or connect the DA-VAE that it was saved with."
        )
        return {}

    def process_unet_state_dict_for_saving(
        self, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """What Save Model writes: the weights and the description."""
        told = {DESCRIPTION: description_tensor(self.description)}
        return super().process_unet_state_dict_for_saving({**state_dict, **told})  # type: ignore[no-any-return]


def inference_types(bfloat16_works: bool) -> list[torch.dtype]:
    """The types to compute in, best first: bfloat16 is what the published model was trained in.

    Where it works float16 is no choice, or ComfyUI would take it for every file that is stored in it.
    """
    return [torch.bfloat16, *([] if bfloat16_works else [torch.float16]), torch.float32]


def register() -> None:
    """Let ComfyUI's loaders know the widened model.

    Of two copies of the pack the last one counts, because ComfyUI runs the nodes of the last one too.
    """
    known = comfy.supported_models.models
    known[:] = [config for config in known if config.__name__ != DetailAlignedSD3.__name__]
    known.append(DetailAlignedSD3)


def load_model(
    base: Path,
    adapter: Path | None,
    weight_type: str,
    layout: LatentLayout = SD3.layout,
    disable_dynamic: bool = False,
) -> Any:
    """A MODEL from a pretrained transformer's file, widened, with the adapter in it as an ordinary LoRA.

    `base` may be a merged model, which needs no adapter. `layout` is the latent to widen for without an adapter, which
    would say it itself. Untouched weights are handed to ComfyUI as they came from the file. Raises CheckpointError,
    naming the files, when they are not what they should be or do not belong together.
    """
    tensors = read_transformer(base)
    found = None if adapter is None else read_adapter(adapter)
    tensors = _widened(base, tensors, adapter, found, layout if found is None else found.layout)
    lora = None if found is None or adapter is None else comfy.utils.load_torch_file(str(adapter))
    options = _loader_options(base, weight_type, disable_dynamic)
    patcher = comfy.sd.load_diffusion_model_state_dict(tensors, **options)
    if patcher is None:
        raise CheckpointError(
            f"{base} is not a transformer that ComfyUI knows: give Stable Diffusion 3.5 Medium."
        )
    patcher.model.model_config.source = (
        plain(base.name) if adapter is None else f"{plain(base.name)} with {plain(adapter.name)}"
    )
    if lora is not None:
        patcher, _ = comfy.sd.load_lora_for_models(patcher, None, lora, 1.0, 0.0)
    # ComfyUI >= 0.15 asks for this to make a second copy of a model.
    patcher.cached_patcher_init = (load_model, (base, adapter, weight_type, layout))
    watch_edges(patcher)
    return patcher


def _loader_options(base: Path, weight_type: str, disable_dynamic: bool) -> dict[str, Any]:
    """What ComfyUI's loader wants to know beside the tensors, as far as this version of it asks."""
    options = {
        "model_options": dict(WEIGHT_TYPES[weight_type]),
        "disable_dynamic": disable_dynamic,
        "metadata": _quantisation(base),
    }
    known = supported(comfy.sd.load_diffusion_model_state_dict, options)
    if options["metadata"] and "metadata" not in known:
        raise CheckpointError(
            f"{base} is quantised in a way that this ComfyUI does not know: update ComfyUI, or give Stable Diffusion "
            "3.5 Medium in float16, bfloat16 or plain float8."
        )
    return known


def _quantisation(path: Path) -> dict[str, str]:
    """What the file's metadata says of quantised layers, under the names that `read_transformer` gives them."""
    _, metadata = read_shapes(path)
    if QUANTISATION not in metadata:
        return {}
    try:
        told = parse_json(metadata[QUANTISATION])
        layers = {
            name.removeprefix(next(filter(name.startswith, PREFIXES))): how
            for name, how in told.get("layers", {}).items()
        }
    except (AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not say as ComfyUI does how it is quantised: download it again."
        ) from error
    return {QUANTISATION: json.dumps({**told, "layers": layers})}


def read_transformer(path: Path) -> dict[str, Tensor]:
    """The transformer in a file, under Stability's names, read as ComfyUI reads files. Raises CheckpointError."""
    read_shapes(path)  # one sentence for what is no safetensors file; ComfyUI would also unpickle
    return transformer_part(path, comfy.utils.load_torch_file(str(path)))


def _widened(
    base: Path,
    tensors: dict[str, Tensor],
    adapter_path: Path | None,
    adapter: Adapter | None,
    layout: LatentLayout,
) -> dict[str, Tensor]:
    """The tensors to load: widened unless they are already, with the description of the whole among them."""
    if DESCRIPTION in tensors or is_widened(tensors, layout):
        if adapter is not None:
            raise CheckpointError(
                f"{base} is a DA-VAE model already, so the adapter {adapter_path} cannot go on top of it: "
                "pick no adapter, or the pretrained model the adapter was trained on."
            )
        _check_description(base, tensors)
        return tensors
    described = ModelDescription(layout, Advice(shift=BASE_SHIFT))
    if adapter is not None:
        described = ModelDescription(layout, adapter.advice, adapter.parents, mode=adapter.mode)
    try:
        wide = widen_model(tensors, layout)
    except ValueError as error:
        raise CheckpointError(
            f"{base} cannot be widened for a DA-VAE ({error}): give Stable Diffusion 3.5 Medium in float32, float16, "
            "bfloat16 or plain float8."
        ) from error
    if adapter is not None and adapter_path is not None:
        require_same_base(adapter.parents, adapter_path, tensors, base)
        # ComfyUI would only log a layer that has no place. Packed weights do not show their shapes.
        if not any(tensor.dtype == torch.uint8 for tensor in tensors.values()):
            plan_files(base, tensors, adapter_path, adapter)
    return {**wide, DESCRIPTION: description_tensor(described)}


def _check_description(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise CheckpointError, naming the file, when a merged model's own description is damaged."""
    if DESCRIPTION in tensors:
        try:
            read_description(tensors[DESCRIPTION])
        except ValueError as error:
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error


def description_of(model: Any) -> ModelDescription | None:
    """What a MODEL says of itself; None for a model that is not ours."""
    config = model.model.model_config
    return config.description if isinstance(config, DetailAlignedSD3) else None


def describe_model(model: Any) -> str:
    """A few words for a MODEL input, used in error sentences."""
    config = model.model.model_config
    if isinstance(config, DetailAlignedSD3):
        return f"the DA-VAE model ({config.source})"
    return f"an ordinary model of {model.model.latent_format.latent_channels} latent channels"


def source_of(model: Any) -> str:
    """The files that one of our MODELs came from, in words."""
    return str(model.model.model_config.source)


def text_widths(model: Any) -> tuple[int, int]:
    """How wide the model reads text: each token's features, and the pooled ones."""
    transformer = model.model.diffusion_model
    return (
        int(transformer.context_embedder.in_features),
        int(transformer.y_embedder.mlp[0].in_features),
    )
