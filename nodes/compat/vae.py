"""A DA-VAE file as ComfyUI's VAE object."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from torch import Tensor, nn

from ...davae_core.codec.autoencoder import NO_DRAFTS, DetailAlignedVAE, base_decode, in_range
from ...davae_core.codec.files import AnyCodec, build_codec, read_codec_file
from ...davae_core.codec.latent_files import encoding_hash
from ...davae_core.codec.stock_saved import DESCRIPTION, codec_metadata, description_tensor
from ...davae_core.latents import LatentLayout, check_latents, crop_to_multiple, split
from ...davae_core.reading.plain_text import plain
from .host import intermediate_dtype

ENCODE_ELEMENTS_PER_PIXEL, DECODE_ELEMENTS_PER_PIXEL = 375, 460
"""Values alive at once per picture pixel (docs/performance.md counts them) and a third more."""
ELEMENTS_BESIDE = 1 << 27
"""What does not grow with the picture: stripes, and what a GPU's convolutions take for themselves."""
MOST_CELLS, SHARED_CELLS = 48, 4
"""Side and overlap of tiles where nobody says them, in latent cells: about a fifth more work than the whole picture."""


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
        drafts = without_drafts(codec)
        self.first_stage_model = codec
        self.patcher = self._patcher(codec, tensors, disable_dynamic)
        # Patched on its own, so that it is on the device only when somebody asks for a draft.
        self.drafts = None if drafts is None else self._patcher(drafts, tensors, disable_dynamic)
        self.patcher.cached_patcher_init = (reload_patcher, (path, device, dtype))
        # ComfyUI >= 0.3.70 keeps the module's size beside it.
        if hasattr(self, "model_size"):
            self.size = None
            self.model_size()

    def get_sd(self) -> dict[str, Tensor]:
        """What stock savers write: the weights, and the description that Load DA-VAE knows them by."""
        told = {DESCRIPTION: description_tensor(self.description)}
        drafts = {} if self.drafts is None else self.drafts.model.state_dict()
        return {**super().get_sd(), **drafts, **told}

    def decode_draft(self, samples: Tensor) -> Tensor:
        """The base channels alone, decoded at half size: latents -> [B, H / ratio, W / ratio, 3] in [0, 1].

        Raises ValueError for a compact file or a latent of another layout.
        """
        check_latents(samples, self.layout)
        codec = self.first_stage_model
        if self.drafts is None and codec.decoder is None:
            raise ValueError(NO_DRAFTS)
        holder = codec if self.drafts is None else self.drafts.model
        patcher = self.patcher if self.drafts is None else self.drafts
        height, width = samples.shape[-2:]
        self._load(patcher, self._decode_memory(height, width, self.layout.base_factor))
        drafts = []
        with self._on_device():
            for sample in torch.split(samples, 1):
                comfy.model_management.throw_exception_if_processing_interrupted()
                base = split(sample.to(device=self.device, dtype=self.vae_dtype), self.layout)[0]
                draft = in_range(base_decode(holder, base))
                drafts.append(draft.to(self.output_device).float())
        images = torch.cat(drafts).add(1).div(2).clamp(0, 1)
        return images.to(intermediate_dtype()).movedim(1, -1)

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """As ComfyUI's, but asking for a tile's memory only: latents -> [B, H, W, 3] in [0, 1]."""
        tile, shared = _tile_and_overlap(samples.shape, tile_x, tile_y, overlap)
        height, width = (min(side, tile) for side in samples.shape[-2:])
        self._load(self.patcher, self._decode_memory(height, width, self.layout.factor))
        return self.decode_tiled_(samples, tile, tile, shared).movedim(1, -1)

    def decode_tiled_(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
    ) -> Tensor:
        """One pass of tiles, where ComfyUI makes three, also as its fallback when memory runs out: [B, 3, H, W]."""
        latents = samples.to(device=self.device, dtype=self.vae_dtype)
        tile, shared = _tile_and_overlap(samples.shape, tile_x, tile_y, overlap)
        pictures = []
        with self._on_device():
            for progress, one in _in_turn(latents):
                made = self.first_stage_model.decode_tiled(one, tile, shared, progress)
                pictures.append(made.to(self.output_device).float())
        return self.process_output(torch.cat(pictures)).to(intermediate_dtype())  # type: ignore[no-any-return]

    def encode_tiled_(
        self,
        pixel_samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
    ) -> Tensor:
        """One pass of tiles in picture pixels: [B, 3, H, W] in [0, 1] -> latents."""
        factor = self.layout.factor
        cells = (None if size is None else size // factor for size in (tile_x, tile_y, overlap))
        sides = [side // factor for side in pixel_samples.shape]
        tile, shared = (size * factor for size in _tile_and_overlap(sides, *cells))
        pictures = self.process_input(pixel_samples).to(device=self.device, dtype=self.vae_dtype)
        latents = []
        with self._on_device():
            for progress, one in _in_turn(pictures):
                made = self.first_stage_model.encode_tiled(one, tile, shared, progress)
                latents.append(made.to(self.output_device).float())
        return torch.cat(latents)

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        """Central crop of [B, H, W, channels] to multiples of the factor, alpha dropped.

        Raises ValueError when a side is below one multiple.
        """
        channels_first = pixels[..., :3].movedim(-1, 1)
        return crop_to_multiple(channels_first, self.layout.factor).movedim(1, -1)

    def _describe(self, layout: LatentLayout) -> None:
        """The numbers stock nodes and ComfyUI's memory management ask a VAE for; memory is that of one picture."""
        self.downscale_ratio = self.upscale_ratio = layout.factor
        self.latent_channels, self.latent_dim, self.output_channels = layout.channels, 2, 3
        self.disable_offload = False
        self.memory_used_encode = lambda shape, dtype: _memory(
            ENCODE_ELEMENTS_PER_PIXEL, shape[2] * shape[3], dtype
        )
        self.memory_used_decode = lambda shape, dtype: _memory(
            DECODE_ELEMENTS_PER_PIXEL, shape[2] * shape[3] * layout.factor**2, dtype
        )

    def _decode_memory(self, height: int, width: int, factor: int) -> int:
        """What a decoder of this factor takes for one latent of height x width cells, in bytes."""
        return _memory(DECODE_ELEMENTS_PER_PIXEL, height * width * factor**2, self.vae_dtype)

    def _load(self, patcher: Any, memory: int) -> None:
        comfy.model_management.load_models_gpu([patcher], memory_required=memory)

    def _on_device(self) -> Any:
        """ComfyUI >= 0.23 makes the VAE's GPU the current one while it works."""
        on_device = getattr(comfy.model_management, "cuda_device_context", None)
        return nullcontext() if on_device is None else on_device(self.device)

    def _patcher(self, module: nn.Module, tensors: dict[str, Tensor], disable_dynamic: bool) -> Any:
        """A module with its part of the file's tensors, and what moves it to the device.

        ComfyUI >= 0.12 has a patcher of its own for what it loads itself.
        """
        module.eval().to(self.vae_dtype)
        # ComfyUI >= 0.12 casts back to these types when it moves weights.
        getattr(comfy.model_management, "archive_model_dtypes", lambda _: None)(module)
        plain = comfy.model_patcher.ModelPatcher
        kind = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
        offload = comfy.model_management.vae_offload_device()
        patcher = kind(module, load_device=self.device, offload_device=offload)
        dynamic = getattr(patcher, "is_dynamic", lambda: False)()
        own = {name: tensors[name] for name in module.state_dict()}
        module.load_state_dict(own, assign=dynamic)
        return patcher


class Drafts(nn.Module):
    """The pretrained VAE's own decoder, under the names that it has in a codec."""

    def __init__(self, codec: DetailAlignedVAE) -> None:
        super().__init__()
        self.decoder, self.post_quant_conv = codec.decoder, codec.post_quant_conv


def without_drafts(codec: AnyCodec) -> Drafts | None:
    """Take the base decoder out of a codec that decodes without it; None where there is none, or it is needed."""
    if not isinstance(codec, DetailAlignedVAE) or codec.decoder is None:
        return None
    drafts = Drafts(codec)
    codec.decoder = codec.post_quant_conv = None
    return drafts


def _memory(per_pixel: int, pixels: int, dtype: torch.dtype) -> int:
    """In bytes."""
    size: int = comfy.model_management.dtype_size(dtype)
    return (per_pixel * pixels + ELEMENTS_BESIDE) * size


def _tile_and_overlap(
    shape: Sequence[int], tile_x: int | None, tile_y: int | None, overlap: int | None
) -> tuple[int, int]:
    """Side and overlap of square tiles for latents of this shape, in cells.

    Where nobody says a side, the picture is cut at least in two: it was too large in one piece.
    """
    half = (max(shape[-2:]) + SHARED_CELLS + 1) // 2
    tile = min(min(half, MOST_CELLS) if side is None else side for side in (tile_x, tile_y))
    return tile, min(SHARED_CELLS if overlap is None else overlap, tile // 2)


def _in_turn(pictures: Tensor) -> Iterator[tuple[Callable[[int, int], None], Tensor]]:
    """Each of a batch, and what shows how far its tiles are and stops where ComfyUI is told to."""
    bar: list[Any] = []

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if not bar:
            bar.append(comfy.utils.ProgressBar(total * len(pictures)))
        bar[0].update(1)

    for one in torch.split(pictures, 1):
        yield progress, one


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
