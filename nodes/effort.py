"""What a picture took to draw, in the words that a sampler node shows."""

from .compat.sampling import Drawn


def effort(drawn: Drawn) -> str:
    """Such as `8 x 8 tokens, 20 steps, 0.065 s each`; nothing where nothing was drawn."""
    if not drawn.steps:
        return ""
    height, width = drawn.latent["samples"].shape[-2:]
    steps = "1 step" if drawn.steps == 1 else f"{drawn.steps} steps"
    told = f"{-(-width // 2)} x {-(-height // 2)} tokens, {steps}"
    each = drawn.seconds_a_step
    if each is None:
        return told
    return f"{told}, {each:.2g} s each" if each < 10 else f"{told}, {each:.0f} s each"
