"""`python -m training cache`: captioned pictures to latents and text states, once."""
