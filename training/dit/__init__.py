"""`python -m training dit`: stage 2, an adapter of a pretrained transformer, or a whole small one."""
