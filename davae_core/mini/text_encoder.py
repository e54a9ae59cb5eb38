"""The miniature's text encoder: CLIP's text transformer, and what Stable Diffusion 3 makes of its output.

The only file here that imports transformers, and only when called. Its parameter names are those of a stock CLIP-L
file, so ComfyUI's own CLIP class reads the same weights.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .clip_tokenizer import END, POSITIONS, VOCABULARY, ClipTokenizer
from .text_config import CLIP_G_WIDTH, CONTEXT_WIDTH
from .text_config import TextConfig as TextConfig


def clip_text_model(config: TextConfig) -> Any:
    """A fresh CLIPTextModelWithProjection of CLIP-L's kind. Raises ImportError without transformers.

    Tokens [B, N <= 77], each row with an END, give `text_embeds` [B, width]: the normed last state of the first END,
    in the space shared with pictures.
    """
    try:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection
    except ImportError as error:
        raise ImportError(
            'The miniature CLIP outside ComfyUI needs transformers: pip install ".[demo]".'
        ) from error
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            **asdict(config),
            projection_dim=config.hidden_size,
            vocab_size=VOCABULARY,
            max_position_embeddings=POSITIONS,
            hidden_act="quick_gelu",
            # The first END is read; with the 2 of many CLIP files transformers reads where the number is the highest.
            eos_token_id=END,
        )
    )


def initialise(model: Any) -> None:
    """Give a fresh model random weights as CLIP starts from: small embeddings, residual branches scaled down by depth.

    transformers' own differ: it scales what goes into an attention down by depth, not what comes out.
    """
    width, depth = model.config.hidden_size, model.config.num_hidden_layers
    embeddings = model.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.02)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.01)
    residual = width**-0.5 * (2 * depth) ** -0.5
    for name, parameter in model.text_model.encoder.named_parameters():
        if parameter.ndim == 2:
            branch_end = "out_proj" in name or "fc2" in name
            nn.init.normal_(parameter, std=residual if branch_end else width**-0.5)
    nn.init.normal_(model.text_projection.weight, std=width**-0.5)


class TextEncoder:
    """Prompts to what an SD3 transformer takes when this CLIP is its only text encoder.

    ComfyUI gives the same for the same file, except that it also reads weights such as "(red:1.2)" in a prompt.
    """

    def __init__(self, model: Any, tokenizer: ClipTokenizer) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Context [B, 77, 4096] and pooled vectors [B, width + 1280] of B prompts, in float32.

        The context leaves the last layer and the last norm out; pooled is the normed last state of the first END.
        Raises ValueError for a prompt of more than 75 tokens.
        """
        numbers = [self.tokenizer(prompt) for prompt in prompts]
        tokens = torch.tensor(numbers, device=self.model.device)
        states = self.model(tokens, output_hidden_states=True)
        penultimate = states.hidden_states[-2]
        context = functional.pad(penultimate, (0, CONTEXT_WIDTH - penultimate.shape[-1]))
        pooled = states.last_hidden_state[range(len(tokens)), (tokens == END).int().argmax(dim=1)]
        return context, functional.pad(pooled, (0, CLIP_G_WIDTH))
