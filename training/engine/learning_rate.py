"""The learning rate as a function of the step."""

import math


def cosine_factor(step: int, steps: int, warmup_steps: int, final_ratio: float) -> float:
    """Factor on the learning rate at `step` (0-based): linear warm-up, then a half cosine from 1 to `final_ratio`."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
