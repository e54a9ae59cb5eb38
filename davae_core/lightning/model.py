"""LightningDiT (Yao et al. 2025, arXiv 2501.01423) in plain PyTorch, its layers under the published names.

Its own conventions: time 0 is noise and 1 is data, and it predicts data - noise. `flow` has both the other way round;
training/dit/class_denoiser.py turns one into the other.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .rotary import RotaryTable
from .sizes import HEAD_WEIGHT, LightningSizes

_EPSILON = 1e-6
_FREQUENCIES = 256
_SLOWEST = 10000.0


class LightningDiT(nn.Module):
    """A transformer over a square latent, its blocks modulated by time and class."""

    pos_embed: nn.Parameter

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.x_embedder = PatchEmbedder(sizes)
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = LabelEmbedder(sizes)
        self.pos_embed = nn.Parameter(grid_positions(sizes.side, width), requires_grad=False)
        self.feat_rope = RotaryTable(sizes.side, sizes.head_width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.blocks))
        self.final_layer = FinalLayer(sizes)

    def forward(self, latents: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """Velocity data - noise [B, C, h, w] of latents [B, C, h, w] at times [B], of classes [B] (int64).

        h and w are `side * patch`; the class `classes` is none.
        """
        tokens = self.x_embedder(latents) + self.pos_embed
        condition = self.t_embedder(time) + self.y_embedder(labels)
        for block in self.blocks:
            tokens = block(tokens, condition, self.feat_rope)
        side, patch = self.sizes.side, self.sizes.patch
        velocity: Tensor = rearrange(
            self.final_layer(tokens, condition),
            "b (h w) (p q c) -> b c (h p) (w q)",
            h=side,
            w=side,
            p=patch,
            q=patch,
        )
        return velocity


class PatchEmbedder(nn.Module):
    """[B, C, h, w] -> a token [B, N, width] of every patch, row after row."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.proj = nn.Conv2d(sizes.channels, sizes.width, sizes.patch, stride=sizes.patch)

    def forward(self, latents: Tensor) -> Tensor:
        """Embed patches."""
        tokens: Tensor = rearrange(self.proj(latents), "b n h w -> b (h w) n")
        return tokens


class LabelEmbedder(nn.Module):
    """Classes [B] -> [B, width]; one more than there are stands for none of them."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(sizes.classes + 1, sizes.width)

    def forward(self, labels: Tensor) -> Tensor:
        """Embed classes."""
        embedded: Tensor = self.embedding_table(labels)
        return embedded


class TimeEmbedder(nn.Module):
    """Times [B] in [0, 1] -> [B, width]: cosines, then sines, of 128 frequencies from 1 down to 1/10000, and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """Embed times."""
        half = _FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=time.device) / half
        angles = time.float()[:, None] * torch.exp(-math.log(_SLOWEST) * steps)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        embedded: Tensor = self.mlp(waves)
        return embedded


class Attention(nn.Module):
    """Self-attention whose queries and keys are turned by their positions, and where `normed` RMS-normalised before."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        norms = [RMSNorm(sizes.head_width) if sizes.normed else nn.Identity() for _ in range(2)]
        self.q_norm, self.k_norm = norms
        self.proj = nn.Linear(sizes.width, sizes.width)

    def forward(self, tokens: Tensor, rotary: RotaryTable) -> Tensor:
        """[B, N, width] -> [B, N, width]."""
        q, k, v = rearrange(self.qkv(tokens), "b n (t h d) -> t b h n d", t=3, h=self.heads)
        mixed = F.scaled_dot_product_attention(
            rotary(self.q_norm(q)), rotary(self.k_norm(k)), v.contiguous()
        )
        joined: Tensor = self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        return joined


class FeedForward(nn.Module):
    """SwiGLU: w3(silu(a) * b), where w12 gives a and b side by side."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.w12 = nn.Linear(sizes.width, 2 * sizes.hidden)
        self.w3 = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, width] -> [B, N, width]."""
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class RMSNorm(nn.Module):
    """Tokens over the root of their mean square, in float32, times a weight of each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        level = F.rms_norm(tokens.float(), (tokens.shape[-1],), eps=_EPSILON)
        return level.to(tokens.dtype) * self.weight


class Block(nn.Module):
    """Attention and a feed-forward part, each shifted, scaled and gated by the condition."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(sizes.width), RMSNorm(sizes.width)
        self.attn, self.mlp = Attention(sizes), FeedForward(sizes)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(sizes.width, 6 * sizes.width))

    def forward(self, tokens: Tensor, condition: Tensor, rotary: RotaryTable) -> Tensor:
        """[B, N, width] and condition [B, width] -> [B, N, width]."""
        shift, scale, gate, shift2, scale2, gate2 = (
            self.adaLN_modulation(condition)[:, None].chunk(6, dim=-1)
        )  # fmt: skip
        tokens = tokens + gate * self.attn(self.norm1(tokens) * (1 + scale) + shift, rotary)
        out: Tensor = tokens + gate2 * self.mlp(self.norm2(tokens) * (1 + scale2) + shift2)
        return out


class FinalLayer(nn.Module):
    """Tokens, shifted and scaled by the condition, to the channels of their patches."""

    def __init__(self, sizes: LightningSizes) -> None:
        super().__init__()
        self.norm_final = RMSNorm(sizes.width)
        self.linear = nn.Linear(sizes.width, sizes.patch**2 * sizes.channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(sizes.width, 2 * sizes.width))

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """[B, N, width] -> [B, N, patch * patch * channels]."""
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, dim=-1)
        patches: Tensor = self.linear(self.norm_final(tokens) * (1 + scale) + shift)
        return patches


def grid_positions(side: int, width: int) -> Tensor:
    """[1, side * side, width]: of every token the sines, then cosines, of its column, then those of its row.

    Fixed as in DiT (Peebles & Xie 2023): a quarter of the channels each, frequencies 10000^(-i / (width / 4)).
    """
    quarter = width // 4
    speeds = _SLOWEST ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * speeds
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)
    columns, rows = axis[None].expand(side, -1, -1), axis[:, None].expand(-1, side, -1)
    return rearrange(torch.cat([columns, rows], dim=-1), "h w n -> 1 (h w) n").float()


@torch.no_grad()
def start_from_nothing(model: LightningDiT) -> None:
    """Weights that a fresh model learns well from, in place: every block starts as the identity, the output as zero.

    As DiT and LightningDiT start: Xavier-uniform layers, embeddings of deviation 0.02, modulations and head at zero.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or "norm" in name:
            continue
        if name.endswith(".bias") or "adaLN_modulation" in name or name == HEAD_WEIGHT:
            nn.init.zeros_(parameter)
        elif name.startswith(("t_embedder.", "y_embedder.")):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.xavier_uniform_(parameter.flatten(1))
