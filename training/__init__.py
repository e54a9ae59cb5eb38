"""Training of the detail-aligned codec (stage 1) and of the transformer on its latents (stage 2)."""
