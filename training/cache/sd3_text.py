"""Stable Diffusion 3's three text encoders, from a diffusers folder or a Hugging Face id, for caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModelWithProjection, T5EncoderModel

from ..errors import TrainingError
from ..hub import PREFIX, existing_path, hub_place
from .text_states import TextStates

CLIP_TOKENS = 77
_KEY = "text.source"
_WANTED = (
    f"a diffusers folder of Stable Diffusion 3 or its Hugging Face id, such as {PREFIX}stabilityai/"
    "stable-diffusion-3.5-medium"
)


class Sd3TextEncoders:
    """CLIP-L, CLIP-G and, with `t5_tokens` above 0, T5, as SD3's pipelines use them, in `dtype`.

    Raises TrainingError when `source` does not hold them.
    """

    def __init__(
        self,
        source: str,
        t5_tokens: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._t5_tokens, self._device = t5_tokens, device
        id_ = hub_place(source, _KEY)
        place = id_.repository if id_ else existing_path(source, _KEY, _WANTED)
        try:
            self._clips = [
                _load(CLIPTextModelWithProjection, place, number) for number in ("", "_2")
            ]
            self._t5 = _load(T5EncoderModel, place, "_3") if t5_tokens else None
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).split("\n")[0].split(". ")[0].rstrip(".")
            raise TrainingError(
                f"{_KEY} {place} does not give SD3's text encoders ({reason}): name a diffusers folder or id of "
                "Stable Diffusion 3 that you have access to."
            ) from error
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


def _load(kind: Any, place: str | Path, number: str) -> tuple[Any, Any]:
    """The tokenizer and the model number "", "_2" or "_3" of a folder, a path, or of a repository, by its name."""
    names, here = (f"tokenizer{number}", f"text_encoder{number}"), isinstance(place, Path)
    for name in names:
        # For a folder without it transformers speaks of its own backends.
        if here and not Path(place, name).is_dir():
            raise FileNotFoundError(f"it has no folder {name}")
    tokenizer = AutoTokenizer.from_pretrained(
        place, subfolder=names[0], local_files_only=here, trust_remote_code=False
    )
    model, found = kind.from_pretrained(
        place,
        subfolder=names[1],
        local_files_only=here,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    # What a file lacks transformers draws at random, such as the projection that SDXL's first encoder has not.
    wrong = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    if wrong:
        raise ValueError(f"the file of its {names[1]} has no {min(wrong)} of the right shape")
    return tokenizer, model.eval()
