"""A checksum tells every change of a picture's tensors, their types and shapes included."""

import torch

from training.cache.picture_check import checksum
from training.cache.text_states import TextStates


def test_whatever_changes_changes_the_checksum() -> None:
    latents = torch.arange(32, dtype=torch.float16).view(1, 2, 4, 4)
    text = TextStates(
        torch.ones(1, 3, 4).half(), torch.ones(1, 2, 8).half(), torch.ones(1, 5).half()
    )
    other = latents.clone()
    other[0, 1, 2, 3] += 1
    stored = text.to("cpu").stored_as("int8")
    found = [
        checksum(*given)
        for given in (
            (latents, text), (latents, None), (other, text), (latents.transpose(2, 3), text), (latents, stored),
            (latents.view(1, 4, 2, 4), text), (latents.view(torch.bfloat16), text),
            (latents, TextStates(text.clip, None, text.pooled)),
        )
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert checksum(latents.clone(), text) == found[0] and 0 <= found[0] < 2**32
