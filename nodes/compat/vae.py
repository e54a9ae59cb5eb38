"""A DA-VAE file as ComfyUI's VAE object."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor, nn

from ...davae_core.codec.files import build_codec, read_codec_file
from ...davae_core.codec.latent_files import encoding_hash
from ...davae_core.codec.stock_saved import DESCRIPTION, codec_metadata, description_tensor
from ...davae_core.latents import LatentLayout, crop_to_multiple
from ...davae_core.reading.plain_text import plain
from .host import intermediate_dtype

ENCODE_ELEMENTS_PER_PIXEL = 1767
"""ComfyUI's own estimate for a KL encoder, in elements per picture pixel."""
DECODE_ELEMENTS_PER_PIXEL = 2178
"""The same for a KL decoder."""
FALLBACK_TILE, FALLBACK_OVERLAP = 32, 8
"""Latent cells. ComfyUI's own fallback tile of 64 cells is 1024 pixels here: as large as what did not fit."""


class DetailAlignedComfyVAE(comfy.sd.VAE):  # type: ignore[misc]
    """ComfyUI's VAE object around a codec; every stock VAE node takes it.

    Pictures are [B, H, W, 3] in [0, 1], latents [B, C + D, H / factor, W / factor] in VAE space. `file` is the name
    of the file it was read from.
    """

    def __init__(
        self,
        path: str | Path,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        disable_dynamic: bool = False,
    ) -> None:
        config, tensors = read_codec_file(path)
        # ComfyUI's smallest VAE: its constructor then sets every attribute that this version of ComfyUI wants.
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, device=device, dtype=dtype)
        self.file = plain(Path(path).name)
        # Which latents are its own; read now, because the file may be replaced while the codec is in use.
        self.encoding_hash = encoding_hash(path)
        self.description = codec_metadata(path)
        self.layout = config.layout
        self._describe(config.layout)
        codec = build_codec(config, tensors, comfy.ops.disable_weight_init)
        self.first_stage_model = codec.eval().to(self.vae_dtype)
        # ComfyUI >= 0.12 casts back to these types when it moves weights.
        getattr(comfy.model_management, "archive_model_dtypes", lambda _: None)(codec)
        self.patcher = self._patcher(codec, disable_dynamic)
        dynamic = getattr(self.patcher, "is_dynamic", lambda: False)()
        codec.load_state_dict(tensors, assign=dynamic)
        self.patcher.cached_patcher_init = (reload_patcher, (path, device, dtype))
        # ComfyUI >= 0.3.70 keeps the module's size beside it.
        if hasattr(self, "model_size"):
            self.size = None
            self.model_size()

    def get_sd(self) -> dict[str, Tensor]:
        """What stock savers write: the weights, and the description that Load DA-VAE knows them by."""
        told = {DESCRIPTION: description_tensor(self.description)}
        return {**super().get_sd(), **told}

    def decode_draft(self, samples: Tensor) -> Tensor:
        """The base channels alone, decoded at half size: latents -> [B, H / ratio, W / ratio, 3] in [0, 1].

        Raises ValueError for a compact file or a latent of another layout.
        """
        # As much as ComfyUI estimates for a picture of half the size, one at a time.
        pixels = samples.shape[-2] * samples.shape[-1] * self.layout.base_factor**2
        size = comfy.model_management.dtype_size(self.vae_dtype)
        needed = int(DECODE_ELEMENTS_PER_PIXEL * pixels * size)
        # ComfyUI >= 0.23 makes the VAE's GPU the current one while it works.
        on_device = getattr(comfy.model_management, "cuda_device_context", nullcontext)
        with on_device(self.device):
            comfy.model_management.load_models_gpu([self.patcher], memory_required=needed)
            drafts = []
            for sample in torch.split(samples, 1):
                comfy.model_management.throw_exception_if_processing_interrupted()
                draft = self.first_stage_model.decode_base(
                    sample.to(device=self.device, dtype=self.vae_dtype)
                )
                drafts.append(draft.to(self.output_device).float())
        images = torch.cat(drafts).add(1).div(2).clamp(0, 1)
        return images.to(intermediate_dtype()).movedim(1, -1)

    def decode_tiled_(
        self,
        samples: Tensor,
        tile_x: int = FALLBACK_TILE,
        tile_y: int = FALLBACK_TILE,
        overlap: int = FALLBACK_OVERLAP,
    ) -> Tensor:
        """ComfyUI's tiled decode, also its fallback when memory runs out, with tiles that really are smaller."""
        return super().decode_tiled_(samples, tile_x=tile_x, tile_y=tile_y, overlap=overlap)  # type: ignore[no-any-return]

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        """Central crop of [B, H, W, channels] to multiples of the factor, alpha dropped.

        Raises ValueError when a side is below one multiple.
        """
        channels_first = pixels[..., :3].movedim(-1, 1)
        return crop_to_multiple(channels_first, self.layout.factor).movedim(1, -1)

    def _describe(self, layout: LatentLayout) -> None:
        """The numbers stock nodes and ComfyUI's memory management ask a VAE for."""
        self.downscale_ratio = self.upscale_ratio = layout.factor
        self.latent_channels, self.latent_dim, self.output_channels = layout.channels, 2, 3
        self.disable_offload = False
        size_of = comfy.model_management.dtype_size
        self.memory_used_encode = lambda shape, dtype: (
            ENCODE_ELEMENTS_PER_PIXEL * shape[2] * shape[3] * size_of(dtype)
        )
        self.memory_used_decode = lambda shape, dtype: (
            DECODE_ELEMENTS_PER_PIXEL * shape[2] * shape[3] * layout.factor**2 * size_of(dtype)
        )

    def _patcher(self, codec: nn.Module, disable_dynamic: bool) -> Any:
        """ComfyUI >= 0.12 has a patcher of its own for what it loads itself."""
        plain = comfy.model_patcher.ModelPatcher
        kind = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
        offload = comfy.model_management.vae_offload_device()
        return kind(codec, load_device=self.device, offload_device=offload)


def reload_patcher(
    path: str | Path,
    device: torch.device | None,
    dtype: torch.dtype | None,
    disable_dynamic: bool = False,
) -> Any:
    """Read the file once more and return its patcher; ComfyUI >= 0.15 asks for this to copy a model."""
    return DetailAlignedComfyVAE(path, device, dtype, disable_dynamic).patcher


def describe_vae(vae: object) -> str:
    """A few words for a VAE input, used in error sentences."""
    if isinstance(vae, DetailAlignedComfyVAE):
        return f"the DA-VAE {vae.file}"
    channels = getattr(vae, "latent_channels", None)
    return "no VAE" if channels is None else f"an ordinary VAE of {channels} latent channels"
