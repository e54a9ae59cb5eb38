"""How exactly the codec agrees with others on the same weights: ``python -m benchmarks.parity``.

* with the published DA-VAE code, on its golden numbers (tests/data/golden);
* with diffusers' AutoencoderKL and with ComfyUI's VAE, on random weights of SD3's full size;
* a published adapter merged into its base, in ComfyUI's own transformer, again on golden numbers.

ComfyUI is the one in .comfyui (``make test`` puts it there) or at COMFYUI_PATH.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from davae_core.codec.autoencoder import DetailAlignedVAE, KLAutoencoder
from davae_core.codec.files import load_codec, save_codec
from davae_core.latents import split, to_model_space
from davae_core.presets import SD3
from davae_core.published.adapter import convert_adapter
from davae_core.published.codec import convert_codec
from davae_core.transformer.merging import merge
from davae_core.transformer.pretrained import load_transformer

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden"
STATISTICS = 2 * SD3.layout.detail_channels


def main() -> None:
    """Print every number."""
    torch.manual_seed(0)
    with torch.inference_mode():
        print("Largest absolute difference, float32 on a CPU:")
        for what, value in (*golden(), *against_diffusers(), *against_comfyui()):
            print(f"  {what:58} {value:.1e}")
    print("Parameters at SD3's size, trunk shared (without the detail's mean and std):")
    for what, base_decoder in (("compact file", False), ("with the base decoder", True)):
        with torch.device("meta"):
            codec = DetailAlignedVAE(SD3, base_decoder=base_decoder)
        numbers = sum(tensor.numel() for tensor in codec.state_dict().values()) - STATISTICS
        print(f"  {what:58} {numbers / 1e6:.1f} M")


def golden() -> Iterator[tuple[str, float]]:
    """The published checkpoint through `convert`, against what the published code computed."""
    expected = load_file(GOLDEN / "davae_expected.safetensors")
    base = load_file(GOLDEN / "base_vae" / "diffusion_pytorch_model.safetensors")
    published = load_file(GOLDEN / "davae_without_base.safetensors")
    published |= {f"original_vae_model.vae.{name}": tensor for name, tensor in base.items()}
    with tempfile.TemporaryDirectory() as folder:
        torch.save(published, f"{folder}/pytorch_model.bin")
        stats = GOLDEN / "latent_norm_stats.json"
        save_codec(f"{folder}/x.safetensors", convert_codec(f"{folder}/pytorch_model.bin", stats))
        codec = load_codec(f"{folder}/x.safetensors")
    latents = codec.encode(expected["image"] * 2 - 1)
    base_part, detail = split(to_model_space(latents, codec.layout), codec.layout)
    ours = torch.cat([detail, base_part], dim=1)
    yield "published code: latent", apart(ours, expected["latent_detail_first"])
    picture = (codec.decode(latents) + 1) / 2
    yield "published code: picture in [0, 1]", apart(picture, expected["reconstruction"])


def against_diffusers() -> Iterator[tuple[str, float]]:
    """diffusers' AutoencoderKL of SD3's size."""
    from diffusers import AutoencoderKL

    from davae_core.codec.stock_vae import to_ldm_names

    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=SD3.backbone.widths,
        layers_per_block=SD3.backbone.res_blocks,
        latent_channels=SD3.layout.base_channels,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()
    ours = KLAutoencoder(SD3.backbone, SD3.layout.base_channels)
    ours.load_state_dict(to_ldm_names(theirs.state_dict()))
    images, latents = inputs()
    mean = ours.encode_moments(images).mean
    yield "diffusers AutoencoderKL: latent", apart(mean, theirs.encode(images).latent_dist.mean)
    yield "diffusers AutoencoderKL: picture", apart(ours.decode(latents), theirs.decode(latents)[0])


def against_comfyui() -> Iterator[tuple[str, float]]:
    """The stock VAE object that ComfyUI builds from an SD3 VAE file."""
    ours = KLAutoencoder(SD3.backbone, SD3.layout.base_channels).eval()
    weights = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    images, latents = inputs()
    with comfyui() as comfy_vae:
        theirs = comfy_vae(sd=weights, dtype=torch.float32).first_stage_model
        mean = ours.encode_moments(images).mean
        yield "ComfyUI's VAE: latent", apart(mean, theirs.encode(images))
        yield "ComfyUI's VAE: picture", apart(ours.decode(latents), theirs.decode(latents))
        yield from merged_velocity()


def merged_velocity() -> Iterator[tuple[str, float]]:
    """The published stage-2 files, converted and merged, in ComfyUI's MMDiT (imported already)."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    folder = GOLDEN / "transformer"
    base = load_transformer(folder / "base.safetensors")
    lora = folder / "pytorch_lora_weights.safetensors"
    merged = merge(base, convert_adapter(folder / "step_4321.pt", base, "live", lora))
    expected = load_file(folder / "expected.safetensors")
    detail, base_part = expected["latent_detail_first"].chunk(2, dim=1)
    for what, weights, latent, wanted in (
        ("untouched velocity", base, base_part, expected["base_velocity"]),
        (
            "adapted velocity",
            merged,
            torch.cat([base_part, detail], dim=1),
            base_first(expected["adapted_velocity"]),
        ),
    ):
        channels = latent.shape[1]
        model = MMDiT(
            input_size=None, patch_size=2, in_channels=channels, out_channels=channels, depth=2,
            qk_norm="rms", adm_in_channels=48, pos_embed_max_size=40, num_patches=1600,
            context_embedder_config={
                "target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128},
            },
            x_block_self_attn_layers=[0], pos_embed_scaling_factor=None, dtype=torch.float32,
            device="cpu", operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
        model.load_state_dict(weights)
        velocity = model(
            latent, expected["timestep"], context=expected["context"], y=expected["pooled"]
        )
        yield f"published code, in ComfyUI's transformer: {what}", apart(velocity, wanted)


def base_first(latents: Tensor) -> Tensor:
    """Detail first to base first."""
    detail, base = latents.chunk(2, dim=1)
    return torch.cat([base, detail], dim=1)


@contextmanager
def comfyui() -> Iterator[type]:
    """ComfyUI's VAE class, from its own folder and on the CPU."""
    place = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).resolve()
    if not (place / "comfy").is_dir():
        sys.exit(f"There is no ComfyUI in {place}: run `make test` once, or set COMFYUI_PATH.")
    arguments, folder = sys.argv, Path.cwd()
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, str(place))
    os.chdir(place)
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd

    try:
        yield comfy.sd.VAE
    finally:
        sys.argv = arguments
        sys.path.remove(str(place))
        os.chdir(folder)


def inputs() -> tuple[Tensor, Tensor]:
    """A picture and a latent, both random."""
    return torch.rand(1, 3, 64, 96) * 2 - 1, torch.randn(1, SD3.layout.base_channels, 8, 12)


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference."""
    return (ours - theirs).abs().max().item()


if __name__ == "__main__":
    main()
