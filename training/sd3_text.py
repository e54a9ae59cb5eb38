"""Stable Diffusion 3's three text encoders, from a diffusers folder or a Hugging Face id, for caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModelWithProjection, T5EncoderModel

from .errors import TrainingError
from .text_states import TextStates

CLIP_TOKENS = 77


class Sd3TextEncoders:
    """CLIP-L, CLIP-G and, with `t5_tokens` above 0, T5, as SD3's pipelines use them; in bfloat16 on a GPU.

    Raises TrainingError when `source` does not hold them.
    """

    def __init__(self, source: str, t5_tokens: int, device: torch.device) -> None:
        self._t5_tokens, self._device = t5_tokens, device
        self._t5: tuple[Any, Any] | None = None
        try:
            self._clips = [
                (_tokenizer(source, number), _model(CLIPTextModelWithProjection, source, number))
                for number in ("", "_2")
            ]
            if t5_tokens:
                self._t5 = (_tokenizer(source, "_3"), _model(T5EncoderModel, source, "_3"))
        except (OSError, ValueError) as error:
            reason = str(error).split("\n")[0].rstrip(".")
            place = Path(source).expanduser()
            raise TrainingError(
                f"text.source {place if place.exists() else source} does not give SD3's text encoders ({reason}): name "
                "a diffusers folder or id of Stable Diffusion 3 that you have access to."
            ) from error
        # In float32 on a CPU, where half precision is slow and nobody lacks the memory.
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        for _, model in [*self._clips, *([self._t5] if self._t5 else [])]:
            model.to(device=device, dtype=dtype)

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> TextStates:
        """The states of B captions: clip [B, 77, L + G], t5 [B, t5_tokens, 4096] or None, pooled [B, L + G]."""
        states, pooled = [], []
        for tokenizer, model in self._clips:
            out = model(self._tokens(tokenizer, captions, CLIP_TOKENS), output_hidden_states=True)
            states.append(out.hidden_states[-2].float())
            pooled.append(out.text_embeds.float())
        t5 = None
        if self._t5 is not None:
            tokenizer, model = self._t5
            t5 = model(self._tokens(tokenizer, captions, self._t5_tokens))[0].float()
        return TextStates(torch.cat(states, dim=-1), t5, torch.cat(pooled, dim=-1))

    def _tokens(self, tokenizer: Any, captions: Sequence[str], length: int) -> Tensor:
        tokens: Tensor = tokenizer(
            list(captions),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self._device)
        return tokens


def _tokenizer(source: str, number: str) -> Any:
    return AutoTokenizer.from_pretrained(source, subfolder=f"tokenizer{number}")


def _model(kind: Any, source: str, number: str) -> Any:
    return kind.from_pretrained(source, subfolder=f"text_encoder{number}").eval()
