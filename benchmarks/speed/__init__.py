"""The codec against ComfyUI's stock VAE: ``python -m benchmarks.speed`` (docs/performance.md)."""
