"""The two edge layers while they train: base and detail apart, so that widening is exact and either may start anyhow.

Files hold them fused, base channels first (docs/method.md, "Stage 2"); `fused_edges` gives that form.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from davae_core.transformer.names import EDGES, EMBEDDER, HEAD
from davae_core.transformer.warm_start import join_head_rows


class SplitPatchEmbedder(nn.Module):
    """[B, C + D, h, w] -> [B, n, h / p, w / p]: the pretrained convolution of the base plus one of the detail.

    Both have a bias, as in the published code; only their sum means anything.
    """

    def __init__(self, base: nn.Conv2d, detail_channels: int) -> None:
        super().__init__()
        self.base = base
        self.detail = nn.Conv2d(
            detail_channels,
            base.out_channels,
            kernel_size=base.kernel_size,  # type: ignore[arg-type]
            stride=base.stride,  # type: ignore[arg-type]
            device=base.weight.device,
            dtype=base.weight.dtype,
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Embed the patches of a latent, base channels first."""
        channels = self.base.in_channels
        embedded: Tensor = self.base(latents[:, :channels]) + self.detail(latents[:, channels:])
        return embedded


class SplitHead(nn.Module):
    """[B, N, n] -> [B, N, p * p * (C + D)]: at each patch position the base's channels, then the detail's."""

    def __init__(self, base: nn.Linear, detail_channels: int, positions: int) -> None:
        super().__init__()
        self.base, self.positions = base, positions
        self.detail = nn.Linear(
            base.in_features,
            positions * detail_channels,
            device=base.weight.device,
            dtype=base.weight.dtype,
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Unfold tokens into the channels of their patches."""
        parts = [
            rearrange(layer(tokens), "b n (k c) -> b n k c", k=self.positions)
            for layer in (self.base, self.detail)
        ]
        return rearrange(torch.cat(parts, dim=-1), "b n k c -> b n (k c)")


def split_edges(transformer: nn.Module, detail_channels: int, zero: bool) -> None:
    """Give diffusers' SD3 transformer detail channels, in place.

    With `zero` the new layers start at zero: the base output stays bit for bit what it was, because the base's layers
    work alone, and the detail output is 0 (paper Eq. 12). Otherwise they start as PyTorch starts any layer.
    """
    proj, head = transformer.get_submodule(EMBEDDER), transformer.get_submodule(HEAD)
    assert isinstance(proj, nn.Conv2d) and isinstance(head, nn.Linear)
    split_embedder = SplitPatchEmbedder(proj, detail_channels)
    split_head = SplitHead(head, detail_channels, proj.kernel_size[0] * proj.kernel_size[1])
    if zero:
        for parameter in (*split_embedder.detail.parameters(), *split_head.detail.parameters()):
            nn.init.zeros_(parameter)
    transformer.get_submodule("pos_embed").register_module("proj", split_embedder)
    transformer.register_module(HEAD, split_head)
    # diffusers' model unfolds its output by this attribute.
    vars(transformer)["out_channels"] = proj.in_channels + detail_channels


def fused_edges(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split edge weights under diffusers' names (`pos_embed.proj.base.weight`, ...) -> single layers, base first.

    The keys of the result are those of davae_core.transformer.names.EDGES.
    """
    get = {name: tensor.detach().float() for name, tensor in weights.items()}
    positions = get[f"{EMBEDDER}.base.weight"][0, 0].numel()
    return {
        f"{EMBEDDER}.weight": torch.cat(
            [get[f"{EMBEDDER}.base.weight"], get[f"{EMBEDDER}.detail.weight"]], dim=1
        ),
        f"{EMBEDDER}.bias": get[f"{EMBEDDER}.base.bias"] + get[f"{EMBEDDER}.detail.bias"],
        **{
            f"{HEAD}.{kind}": join_head_rows(
                get[f"{HEAD}.base.{kind}"], get[f"{HEAD}.detail.{kind}"], positions
            )
            for kind in ("weight", "bias")
        },
    }


@torch.no_grad()
def fill_edges(transformer: nn.Module, fused: Mapping[str, Tensor]) -> None:
    """Put what `fused_edges` gave, under the keys of names.EDGES, into a transformer's split edge layers, in place.

    The embedder's bias goes into the detail's part, as only the sum of the two means anything.
    """
    weight, bias, rows, row_bias = (fused[name] for name in EDGES)
    embedder, head = transformer.get_submodule(EMBEDDER), transformer.get_submodule(HEAD)
    assert isinstance(embedder, SplitPatchEmbedder) and isinstance(head, SplitHead)
    channels = embedder.base.in_channels
    embedder.base.weight.copy_(weight[:, :channels])
    embedder.detail.weight.copy_(weight[:, channels:])
    assert embedder.base.bias is not None and embedder.detail.bias is not None
    embedder.detail.bias.copy_(bias - embedder.base.bias)
    for kind, joined in (("weight", rows), ("bias", row_bias)):
        base, detail = _split_rows(joined, channels, head.positions)
        head.base.get_parameter(kind).copy_(base)
        head.detail.get_parameter(kind).copy_(detail)


def _split_rows(joined: Tensor, channels: int, positions: int) -> tuple[Tensor, Tensor]:
    """The head's rows of the base's `channels` and of the detail's: `join_head_rows` the other way round."""
    by_position = rearrange(joined, "(k c) ... -> k c ...", k=positions)
    base, detail = by_position[:, :channels], by_position[:, channels:]
    return base.flatten(0, 1), detail.flatten(0, 1)
