"""`python -m training vae`: stage 1, a codec on a pretrained VAE, or a plain base VAE."""
