"""Live previews by a small decoder: the stock one for SD3's latent, padded to read ours and ignore the detail.

ComfyUI shows what it finds in models/vae_approx under the name its latent format asks for (docs/method.md, "Previews").
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..files import CheckpointError
from ..latents import LatentLayout

FIRST = "1.weight"
"""The decoder's first convolution, [64, C, 3, 3]; layer 0 only clamps."""


def pad_preview_decoder(
    name: str, tensors: Mapping[str, Tensor], layout: LatentLayout
) -> dict[str, Tensor]:
    """The decoder for base + detail channels: what it drew of the base alone, whatever the detail.

    Raises CheckpointError, naming the file, unless it is a decoder of the layout's base channels.
    """
    first = tensors.get(FIRST)
    if first is None or first.ndim != 4 or first.shape[1] != layout.base_channels:
        raise CheckpointError(
            f"{name} is not a preview decoder of {layout.base_channels} latent channels: "
            "give taesd3_decoder.safetensors."
        )
    return {**tensors, FIRST: F.pad(first, (0, 0, 0, 0, 0, layout.detail_channels))}
