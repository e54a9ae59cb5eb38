"""The miniature's text encoder: CLIP's text transformer, and what Stable Diffusion 3 makes of its output.

Parameter names are those of a stock CLIP-L file, so ComfyUI's own CLIP class reads the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .clip_tokenizer import END, POSITIONS, ClipTokenizer

VOCABULARY = 49408
CONTEXT_WIDTH = 4096
"""Width of Stable Diffusion 3's context: the T5 encoder's; CLIP's states are filled up to it with zeros."""
CLIP_G_WIDTH = 1280
"""Width of the second CLIP's pooled vector, all zeros where only the first one is there."""


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a CLIP text transformer; its names are those ComfyUI's and transformers' configurations use."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int

    def __post_init__(self) -> None:
        if self.num_hidden_layers < 2:
            raise ValueError("A text encoder needs 2 layers, because the last but one is read.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"A width of {self.hidden_size} cannot be shared by {self.num_attention_heads} heads."
            )


@dataclass(frozen=True)
class TextStates:
    """What the transformer gives for tokens [B, N].

    `penultimate` [B, N, width] leaves the last layer and the last norm out; `pooled` [B, width] is the normed last
    state of the first END; `projected` [B, width] is the pooled one in the space shared with pictures.
    """

    penultimate: Tensor
    pooled: Tensor
    projected: Tensor


class ClipTextModel(nn.Module):
    """CLIP's causal text transformer, with a stock file's parameter names."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = _TextTransformer(config)
        self.text_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, tokens: Tensor) -> TextStates:
        """Tokens [B, N <= 77], each row with an END, to their states."""
        penultimate, last = self.text_model(tokens)
        first_end = (tokens == END).int().argmax(dim=1)
        pooled = last[torch.arange(len(tokens), device=tokens.device), first_end]
        return TextStates(penultimate, pooled, self.text_projection(pooled))

    def initialise(self) -> None:
        """Random weights as CLIP starts from: small embeddings, residual branches scaled down by depth."""
        width, depth = self.config.hidden_size, self.config.num_hidden_layers
        embeddings = self.text_model.embeddings
        nn.init.normal_(embeddings.token_embedding.weight, std=0.02)
        nn.init.normal_(embeddings.position_embedding.weight, std=0.01)
        residual = width**-0.5 * (2 * depth) ** -0.5
        for name, parameter in self.text_model.encoder.named_parameters():
            if parameter.ndim == 2:
                branch_end = "out_proj" in name or "fc2" in name
                nn.init.normal_(parameter, std=residual if branch_end else width**-0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        nn.init.normal_(self.text_projection.weight, std=width**-0.5)


class TextEncoder:
    """Prompts to what an SD3 transformer takes when this CLIP is its only text encoder.

    ComfyUI gives the same for the same file, except that it also reads weights such as "(red:1.2)" in a prompt.
    """

    def __init__(self, model: ClipTextModel, tokenizer: ClipTokenizer) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @property
    def pooled_width(self) -> int:
        """Channels of the pooled vector."""
        return self.model.config.hidden_size + CLIP_G_WIDTH

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Context [B, 77, 4096] and pooled vectors [B, width + 1280] of B prompts, in float32.

        Raises ValueError for a prompt of more than 75 tokens.
        """
        device = self.model.text_projection.weight.device
        tokens = torch.tensor([self.tokenizer(prompt) for prompt in prompts], device=device)
        states = self.model(tokens)
        missing = CONTEXT_WIDTH - states.penultimate.shape[-1]
        context = functional.pad(states.penultimate, (0, missing))
        return context, functional.pad(states.pooled, (0, CLIP_G_WIDTH))


class _TextTransformer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config.hidden_size)
        self.encoder = _Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        penultimate, last = self.encoder(self.embeddings(tokens))
        return penultimate, self.final_layer_norm(last)


class _Embeddings(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.position_embedding = nn.Embedding(POSITIONS, width)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.position_embedding.weight[: tokens.shape[1]]
        embedded: Tensor = self.token_embedding(tokens) + places
        return embedded


class _Encoder(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers[:-1]:
            x = layer(x)
        return x, self.layers[-1](x)


class _Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = _Attention(width, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        mixed: Tensor = x + self.mlp(self.layer_norm2(x))
        return mixed


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        # CLIP-L's own activation, an approximation of GELU.
        out: Tensor = self.fc2(hidden * torch.sigmoid(1.702 * hidden))
        return out
