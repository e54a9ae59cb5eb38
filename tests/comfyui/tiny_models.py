"""A tiny Stable Diffusion 3.5 with random weights, in every form a user may have, and adapters and LoRAs for it.

It reads text of the bundled miniature CLIP: 4096 wide, 1344 pooled. Two blocks, the first with dual attention.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from davae_core.presets import SD3
from davae_core.transformer.adapter import Adapter, widened_edges, write_adapter
from davae_core.transformer.description import DESCRIPTION, Advice
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.merging import plan_merge, write_merged
from davae_core.transformer.names import diffusers_to_stability

from .server import ROOT

BASE = "tiny_sd35.safetensors"
DIFFUSERS = "tiny_sd35_diffusers.safetensors"
FULL = "tiny_sd35_checkpoint.safetensors"
FLOAT8 = "tiny_sd35_fp8.safetensors"
NAMED_FLOAT8 = "tiny_sd35_fp8_named_in_metadata.safetensors"
SCALED_FLOAT8 = "tiny_sd35_fp8_scaled.safetensors"
BLOCK_QUANTISED = "tiny_sd35_blocks.safetensors"
OTHER_BASE = "tiny_other.safetensors"
OTHER_WIDTHS = "tiny_other_text.safetensors"
MERGED = "davae_tiny_merged.safetensors"
DAMAGED = "davae_tiny_damaged.safetensors"
ADAPTER = "davae_tiny.safetensors"
ADAPTER_1024 = "davae_tiny_1024.safetensors"
ADAPTER_2048 = "davae_tiny_2048.safetensors"
ADAPTER_OF_VAE = "davae_tiny_other_vae.safetensors"
ADAPTER_OF_MORE_BLOCKS = "davae_tiny_deeper.safetensors"
TRUNCATED_ADAPTER = "davae_tiny_truncated.safetensors"
DETAIL = "davae_tiny_detail.safetensors"
DETAIL_1024 = "davae_tiny_detail_1024.safetensors"
DETAIL_OF_VAE = "davae_tiny_detail_other_vae.safetensors"
DETAIL_MERGED = "davae_tiny_detail_merged.safetensors"
LORA_DIFFUSERS = "ordinary_diffusers.safetensors"
LORA_KOHYA = "ordinary_kohya.safetensors"
LORA_EDGES = "ordinary_edges_kohya.safetensors"
LORA_EDGES_DIFF = "ordinary_edges_differences.safetensors"
LORA_EDGES_WIDE = "edges_for_the_widened_model.safetensors"

RANK, WIDTH = 4, 128
CONTEXT, POOLED, POSITIONS = 4096, 64 + 1280, 72
ADVICE = Advice(shift=4.0, guidance=2.5, steps=30)
DETAIL_ADVICE = Advice(shift=3.0, guidance=1.0, steps=10)
GOLDEN = ROOT / "tests" / "data" / "golden" / "transformer" / "base.safetensors"


def tiny_base(seed: int = 0) -> dict[str, Tensor]:
    """The transformer under diffusers' names, float32."""
    torch.manual_seed(seed)
    tensors = {
        name: torch.randn_like(tensor) * tensor.std() if tensor.std() > 0 else tensor
        for name, tensor in load_file(GOLDEN).items()
    }
    embedder = "time_text_embed.text_embedder.linear_1.weight"
    return {
        **tensors,
        "context_embedder.weight": torch.randn(WIDTH, CONTEXT) * 0.07,
        embedder: torch.randn(WIDTH, POOLED) * 0.08,
        "pos_embed.pos_embed": torch.randn(1, POSITIONS**2, WIDTH) * 0.5,
    }


def tiny_adapter(base: dict[str, Tensor]) -> Adapter:
    """A random adapter for `base` (Stability names) that changes the picture visibly."""
    torch.manual_seed(1)
    layers = {
        f"transformer_blocks.{block}.attn.to_{part}": WIDTH for block in (0, 1) for part in "qkv"
    }
    layers |= {
        "transformer_blocks.0.attn2.to_out.0": WIDTH,
        "transformer_blocks.1.ff.net.2": 4 * WIDTH,
    }
    lora = {}
    for layer, width in layers.items():
        lora[f"{layer}.lora_A.weight"] = torch.randn(RANK, width) * 0.2
        lora[f"{layer}.lora_B.weight"] = torch.randn(WIDTH, RANK) * 0.2
    edges = {
        name: torch.randn_like(tensor) * 0.05
        for name, tensor in widened_edges(base, SD3.layout).items()
    }
    return Adapter(SD3.layout, lora, edges, ADVICE, {"base": base_fingerprint(base)})


def write_transformers(models: Path) -> None:
    """Fill diffusion_models, checkpoints and loras below `models`."""
    diffusers = tiny_base()
    base = diffusers_to_stability(diffusers)
    folder = models / "diffusion_models"
    save_file(base, folder / BASE)
    save_file(diffusers, folder / DIFFUSERS)
    save_file(diffusers_to_stability(tiny_base(seed=7)), folder / OTHER_BASE)
    save_file(diffusers_to_stability(load_file(GOLDEN)), folder / OTHER_WIDTHS)
    save_file(
        {f"model.diffusion_model.{name}": t for name, t in base.items()},
        models / "checkpoints" / FULL,
    )
    write_quantised(folder, base)
    adapter = tiny_adapter(base)
    write_adapters(models / "loras", adapter)
    write_merged(folder / MERGED, plan_merge(base, adapter))
    detail = replace(adapter, advice=DETAIL_ADVICE, mode="detail")
    write_detail_adapters(models / "loras", detail)
    write_merged(folder / DETAIL_MERGED, plan_merge(base, detail))
    damaged = load_file(folder / MERGED) | {DESCRIPTION: torch.tensor([123], dtype=torch.uint8)}
    save_file(damaged, folder / DAMAGED)
    write_loras(models / "loras")


def write_quantised(folder: Path, base: dict[str, Tensor]) -> None:
    """Plain float8, float8 with one scale per layer, and float8 whose head has a scale per block."""
    matrices = [name for name, tensor in base.items() if tensor.ndim == 2 and "embed" not in name]
    small = {name: base[name].to(torch.float8_e4m3fn) for name in matrices}
    save_file({**base, **small}, folder / FLOAT8)
    scaled = {
        "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn),
        **{f"{name.removesuffix('.weight')}.scale_weight": torch.tensor(1.0) for name in matrices},
    }
    save_file({**base, **small, **scaled}, folder / SCALED_FLOAT8)
    write_named_float8(folder / NAMED_FLOAT8, base, matrices)
    head = small["final_layer.linear.weight"]
    blocks = {"final_layer.linear.weight_scale": torch.ones(head.shape[0], head.shape[1] // 32)}
    save_file({**base, **small, **blocks}, folder / BLOCK_QUANTISED)


def write_named_float8(path: Path, base: dict[str, Tensor], matrices: list[str]) -> None:
    """A full checkpoint in float8 as ComfyUI quantises: real scales, the quantised layers named in the metadata."""
    scales = {name: base[name].abs().max() / 448 for name in matrices}
    small = {name: (base[name] / scale).to(torch.float8_e4m3fn) for name, scale in scales.items()}
    beside = {f"{name.removesuffix('.weight')}.weight_scale": s for name, s in scales.items()}
    prefix = "model.diffusion_model."
    layers = {
        prefix + name.removesuffix(".weight"): {"format": "float8_e4m3fn"} for name in matrices
    }
    tensors = {prefix + name: tensor for name, tensor in {**base, **small, **beside}.items()}
    save_file(tensors, path, {"_quantization_metadata": json.dumps({"layers": layers})})


def write_adapters(folder: Path, adapter: Adapter) -> None:
    """The adapter for any size, for 1024 and for 2048 pixels, for another DA-VAE's latents, and cut short."""
    write_adapter(folder / ADAPTER, adapter)
    for name, side in ((ADAPTER_1024, 1024), (ADAPTER_2048, 2048)):
        write_adapter(folder / name, replace(adapter, advice=replace(ADVICE, sizes=(side,))))
    parents = {**adapter.parents, "vae": "0" * 64}
    write_adapter(folder / ADAPTER_OF_VAE, replace(adapter, parents=parents))
    deeper = {name.replace("blocks.1", "blocks.2"): t for name, t in adapter.lora.items()}
    write_adapter(folder / ADAPTER_OF_MORE_BLOCKS, replace(adapter, lora=deeper, parents={}))
    whole = (folder / ADAPTER).read_bytes()
    (folder / TRUNCATED_ADAPTER).write_bytes(whole[: len(whole) // 2])


def write_detail_adapters(folder: Path, adapter: Adapter) -> None:
    """The detail adapter for any size, for 1024 pixels, and for another DA-VAE's latents."""
    write_adapter(folder / DETAIL, adapter)
    sized = replace(DETAIL_ADVICE, sizes=(1024,))
    write_adapter(folder / DETAIL_1024, replace(adapter, advice=sized))
    parents = {**adapter.parents, "vae": "0" * 64}
    write_adapter(folder / DETAIL_OF_VAE, replace(adapter, parents=parents))


def write_loras(folder: Path) -> None:
    """An ordinary LoRA of SD3.5, in diffusers' and in kohya's key names, with an alpha."""
    torch.manual_seed(3)
    down, up = torch.randn(RANK, WIDTH) * 0.3, torch.randn(WIDTH, RANK) * 0.3
    layer = "transformer_blocks.1.attn.to_out.0"
    tensors = {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}
    save_file(tensors, folder / LORA_DIFFUSERS)
    native = "lora_unet_joint_blocks_1_x_block_attn_proj"
    kohya = {
        f"{native}.lora_down.weight": down,
        f"{native}.lora_up.weight": up,
        f"{native}.alpha": torch.tensor(float(RANK)),
    }
    save_file(kohya, folder / LORA_KOHYA)
    write_edge_loras(folder)


def write_edge_loras(folder: Path) -> None:
    """A LoRA of SD3.5's two edge layers in kohya's names, as plain differences, and for the widened model."""
    torch.manual_seed(4)
    base, patch = SD3.layout.base_channels, 2
    reader = torch.randn(RANK, base, patch, patch) * 0.3, torch.randn(WIDTH, RANK, 1, 1) * 0.3
    head = torch.randn(RANK, WIDTH) * 0.3, torch.randn(base * patch**2, RANK) * 0.3
    kohya = {}
    for layer, (down, up) in (("x_embedder_proj", reader), ("final_layer_linear", head)):
        kohya[f"lora_unet_{layer}.lora_down.weight"] = down
        kohya[f"lora_unet_{layer}.lora_up.weight"] = up
        kohya[f"lora_unet_{layer}.alpha"] = torch.tensor(float(RANK))
    save_file(kohya, folder / LORA_EDGES)
    read = torch.einsum("or,rchw->ochw", reader[1][:, :, 0, 0], reader[0])
    written = head[1] @ head[0]
    names = ("transformer.pos_embed.proj.diff", "transformer.proj_out.diff")
    save_file(dict(zip(names, (read, written), strict=True)), folder / LORA_EDGES_DIFF)
    detail = SD3.layout.detail_channels
    # Patch positions are the slow index of the head's rows, channels the fast one: base first, then detail.
    rows = torch.zeros(patch**2, base + detail, WIDTH)
    rows[:, :base] = written.view(patch**2, base, WIDTH)
    wide = torch.zeros(WIDTH, base + detail, patch, patch)
    wide[:, :base] = read
    save_file(dict(zip(names, (wide, rows.flatten(0, 1)), strict=True)), folder / LORA_EDGES_WIDE)
