"""Time and memory of `davae merge` at the size of Stable Diffusion 3.5 Medium, on weights that mean nothing:

.venv/bin/python -m benchmarks.merge_memory

Writes a base (4.9 GB in bfloat16) and a rank-256 adapter with the published targets into a temporary folder, merges
them in a process of its own, and prints what that process held. Needs 11 GB of disk and diffusers for the shapes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import stream_safetensors
from davae_core.presets import SD3
from davae_core.transformer.adapter import Adapter, widened_edges, write_adapter
from davae_core.transformer.files import load_transformer
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.names import diffusers_to_stability

RANK = 256
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "norm1.linear")


def shapes() -> dict[str, Tensor]:
    """SD3.5-Medium's tensors under diffusers' names, without memory."""
    from diffusers import SD3Transformer2DModel

    with torch.device("meta"):
        model = SD3Transformer2DModel(
            sample_size=128, patch_size=2, in_channels=16, num_layers=24, attention_head_dim=64,
            num_attention_heads=24, joint_attention_dim=4096, caption_projection_dim=1536,
            pooled_projection_dim=2048, out_channels=16, pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)), qk_norm="rms_norm",
        )  # fmt: skip
    # The position table is stored, though diffusers computes it.
    table = {"pos_embed.pos_embed": torch.empty(1, 384 * 384, 1536, device="meta")}
    return {**table, **model.state_dict()}


def write_base(path: Path, meta: dict[str, Tensor]) -> None:
    """Random bfloat16 weights under Stability's names, one tensor in memory at a time."""
    kinds = {name: (tuple(part.shape), torch.bfloat16) for name, part in meta.items()}
    stream_safetensors(
        path, kinds, lambda name: 0.02 * torch.randn(kinds[name][0], dtype=torch.bfloat16), {}
    )


def small_adapter(base: dict[str, Tensor], diffusers: dict[str, Tensor]) -> Adapter:
    """A bfloat16 LoRA on the published targets and float32 edge layers."""
    lora = {}
    for name, tensor in diffusers.items():
        layer = name.removesuffix(".weight")
        if layer.endswith(TARGETS) and layer != name:
            rows, columns = tensor.shape
            lora[f"{layer}.lora_A.weight"] = torch.full((RANK, columns), 1e-3, dtype=torch.bfloat16)
            lora[f"{layer}.lora_B.weight"] = torch.full((rows, RANK), 1e-3, dtype=torch.bfloat16)
    edges = {name: wide * 0.1 for name, wide in widened_edges(base, SD3.layout).items()}
    return Adapter(SD3.layout, lora, edges, parents={"base": base_fingerprint(base)})


def watch(command: list[str]) -> tuple[float, float, float]:
    """Seconds, and the peaks in GB of a command's own memory and of all it had mapped in."""
    started, own, mapped = time.monotonic(), 0, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if "RssAnon" in found:
                own = max(own, int(found["RssAnon"].split()[0]))
                mapped = max(mapped, int(found["VmHWM"].split()[0]))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - started, own * 1024 / 1e9, mapped * 1024 / 1e9


def main() -> None:
    """Print one line for each storage type."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, adapter, output = (
            folder / f"{part}.safetensors" for part in ("base", "adapter", "out")
        )
        diffusers = shapes()
        write_base(base, diffusers_to_stability(diffusers))
        write_adapter(adapter, small_adapter(load_transformer(base), diffusers))
        sizes = f"base {base.stat().st_size / 1e9:.2f} GB, adapter {adapter.stat().st_size / 1e9:.2f} GB"
        for dtype in ("bfloat16", "fp8_e4m3fn"):
            command = ["merge", str(base), str(adapter), "-o", str(output), "--dtype", dtype]
            seconds, own, mapped = watch([sys.executable, "-m", "davae_core", *command])
            sys.stdout.write(
                f"{sizes} -> {dtype} {output.stat().st_size / 1e9:.2f} GB: {seconds:.0f} s, "
                f"{own:.2f} GB of its own, {mapped:.2f} GB with mapped files\n"
            )
            output.unlink()


if __name__ == "__main__":
    main()
