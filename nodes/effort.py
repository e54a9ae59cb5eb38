"""What a picture took to draw, in the words that a sampler node shows."""

from .compat.sampling import Drawn


def effort(drawn: Drawn) -> str:
    """Such as `8 x 8 tokens, 20 steps, 0.065 s each`; nothing where nothing was drawn."""
    if not drawn.steps:
        return ""
    height, width = drawn.latent["samples"].shape[-2:]
    steps = "1 step" if drawn.steps == 1 else f"{drawn.steps} steps"
    told = f"{-(-width // 2)} x {-(-height // 2)} tokens, {steps}"
    return told if drawn.seconds_a_step is None else f"{told}, {drawn.seconds_a_step:.2g} s each"
