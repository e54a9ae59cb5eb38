"""The text of a batch: cached states, or captions that the text encoders read while training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..cache.config import TextConfig
from ..cache.encoding import load_caption_encoder
from ..cache.latent_cache import LatentCache
from ..cache.text_states import TextStates
from ..errors import TrainingError
from .config import DitTextConfig

_LARGEST_DIFFERENCE = 0.1
"""Of the empty caption's states, relative: rounding in 16 bits and storage in 8 stay below, other encoders above."""
OnDevice = Callable[[TextStates | Sequence[str]], TextStates]


def texts_on(
    device: torch.device, config: DitTextConfig, cache: LatentCache, key: str = "data.caches"
) -> OnDevice:
    """A function of cached states or of captions that gives their states in float32 on the device.

    Where the cache, which the setting `key` names, has no states the text encoders are loaded here, frozen. Raises
    TrainingError or CheckpointError, also when they are others than those that the cache was made with.
    """
    encode = None if cache.has_texts else _encoder(device, config, cache, key)

    def states(text: TextStates | Sequence[str]) -> TextStates:
        if isinstance(text, TextStates):
            return text.to(device)
        assert encode is not None
        return encode(text).to(device)

    return states


def _encoder(
    device: torch.device, config: DitTextConfig, cache: LatentCache, key: str
) -> Callable[[Sequence[str]], TextStates]:
    head = cache.head
    source = config.source or str(head.setting("text.source"))
    made_with = TextConfig(head.setting("text.kind"), source, head.setting("text.t5_tokens"))
    # The run's random numbers go on as if the encoders had never been built.
    with torch.random.fork_rng():
        own = torch.device("cpu") if config.device == "cpu" else device
        encode = load_caption_encoder(made_with, own, config.precision)
    if not _agree(encode([""]).to("cpu"), cache.empty_text().to("cpu")):
        raise TrainingError(
            f"text.source {source} reads the empty caption otherwise than the text encoders that {key} {cache.folder} "
            "was made with: name those, or make the cache again."
        )
    return encode


def _agree(ours: TextStates, theirs: TextStates) -> bool:
    one, other = ours.tensors(""), theirs.tensors("")
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape
        and float((one[name] - other[name]).norm())
        <= _LARGEST_DIFFERENCE * float(other[name].norm())
        for name in one
    )
