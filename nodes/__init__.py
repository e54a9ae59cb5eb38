"""The ComfyUI nodes: thin wrappers around davae_core."""
