"""Ours against ComfyUI's stock model and VAE: ``python -m benchmarks.speed`` (docs/performance.md)."""
