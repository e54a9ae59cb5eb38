"""Measurements of ComfyUI's own transformer with our files inside a real ComfyUI process (process.py starts it):

python inside_transformer.py PACK FILES ANSWERS

FILES is a folder as tests/nodes/test_transformer_inside_comfyui.py fills it: the golden base, and the adapter and the
merged models that `davae` wrote. ANSWERS becomes a JSON file with an entry per function of EXPERIMENTS. Nothing here
decides what is right: that test does.
"""

import sys
from pathlib import Path
from typing import Any

import inside_pack

PACK, FILES, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import comfy.model_management as management  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

inside_pack.part("nodes.extension").DetailAlignedExtension()
widen_model = inside_pack.part("davae_core.transformer.widened_model").widen_model
load_transformer = inside_pack.part("davae_core.transformer.pretrained").load_transformer
LAYOUT = inside_pack.part("davae_core.presets").SD3.layout
EXPECTED = load_file(FILES / "expected.safetensors")
GRIDS = ((4, 6), (8, 8), (16, 10), (5, 7), (3, 4), (1, 1))


def velocity(patcher: Any, latents: Tensor) -> Tensor:
    """What the transformer behind a MODEL makes of the golden conditions, patches applied."""
    management.load_models_gpu([patcher])
    network = patcher.model.diffusion_model
    return forward(network, latents)


def forward(network: nn.Module, latents: Tensor) -> Tensor:
    return network(latents, EXPECTED["timestep"], context=EXPECTED["context"], y=EXPECTED["pooled"])


def stock() -> Any:
    """The untouched 16-channel model, by ComfyUI's own loader."""
    return comfy.sd.load_diffusion_model(str(FILES / "base.safetensors"))


def widened() -> Any:
    """The same file's model widened by zeros, by the loader that stock nodes use."""
    base = load_transformer(FILES / "base.safetensors")
    return comfy.sd.load_diffusion_model_state_dict(widen_model(base, LAYOUT))


def compared(plain: nn.Module, wide: nn.Module) -> dict[str, Any]:
    """Both networks on the same base latents, at even and odd grids: how far is the base off, is the detail zero?"""
    found = {}
    for height, width in GRIDS:
        generator = torch.Generator().manual_seed(height * 100 + width)
        latents = torch.randn(2, LAYOUT.channels, height, width, generator=generator)
        before = forward(plain, latents[:, : LAYOUT.base_channels])
        after = forward(wide, latents)
        found[f"{height}x{width}"] = {
            "shape": list(after.shape),
            "size": largest(before),
            "base": largest(after[:, : LAYOUT.base_channels] - before),
            "detail": int(torch.count_nonzero(after[:, LAYOUT.base_channels :])),
        }
    return found


def warm_start() -> dict[str, Any]:
    """A widened state dict, loaded by ComfyUI."""
    plain, wide = stock(), widened()
    management.load_models_gpu([plain, wide])
    return compared(plain.model.diffusion_model, wide.model.diffusion_model)


def adapted(name: str = "adapter.safetensors", without: tuple[str, ...] = ()) -> Any:
    """The widened model with an adapter on it, by the code of the stock LoRA loaders; layers `without` left out."""
    lora = comfy.utils.load_torch_file(str(FILES / name))
    kept = {key: part for key, part in lora.items() if not any(layer in key for layer in without)}
    return comfy.sd.load_lora_for_models(widened(), None, kept, 1.0, 0.0)[0]


def merged(name: str, **options: Any) -> Any:
    """A file that `davae merge` wrote, by the code of the stock Load Diffusion Model."""
    return comfy.sd.load_diffusion_model(str(FILES / name), model_options=options)


def velocities() -> dict[str, Any]:
    """How far each way is from what the published code computed."""
    detail, base = EXPECTED["latent_detail_first"].chunk(2, dim=1)
    latents = torch.cat([base, detail], dim=1)
    zero, trained = (
        torch.cat(EXPECTED[name].chunk(2, dim=1)[::-1], dim=1)
        for name in ("zero_init_velocity", "adapted_velocity")
    )
    return {
        "untouched": largest(velocity(stock(), base) - EXPECTED["base_velocity"]),
        "zero": largest(velocity(widened(), latents) - zero),
        "adapter": largest(velocity(adapted(), latents) - trained),
        "merged": largest(velocity(merged("merged.safetensors"), latents) - trained),
        "merged_of_full": largest(velocity(merged("merged_full.safetensors"), latents) - trained),
        "change": largest(trained - zero),
    }


def wide_targets() -> dict[str, Any]:
    """How far an adapter of every large layer is from the trainer's own model, and how far without one of the layers.

    The layers are those whose halves diffusers keeps in another order.
    """
    expected = load_file(FILES / "wide_expected.safetensors")
    latents, trained = expected["latents"], expected["velocity"]
    return {
        "size": largest(trained),
        "adapter": largest(velocity(adapted("wide.safetensors"), latents) - trained),
        "merged": largest(velocity(merged("wide_merged.safetensors"), latents) - trained),
        "without": {
            layer: largest(velocity(adapted("wide.safetensors", (layer,)), latents) - trained)
            for layer in ("norm_out.linear", "transformer_blocks.1.norm1_context.linear")
        },
    }


def small_types() -> dict[str, Any]:
    """Merged files in smaller types beside float32; float8 also kept as such, as a GPU does."""
    detail, base = EXPECTED["latent_detail_first"].chunk(2, dim=1)
    latents = torch.cat([base, detail], dim=1)
    whole = velocity(merged("merged.safetensors"), latents)
    kept = merged("merged_fp8_e4m3fn.safetensors", dtype=torch.float8_e4m3fn)
    found = {
        "bfloat16": velocity(merged("merged_bfloat16.safetensors"), latents),
        "float8": velocity(merged("merged_fp8_e4m3fn.safetensors"), latents),
        "kept": velocity(kept, latents),
    }
    return {
        "size": float(whole.std()),
        "dtype": str(kept.model.diffusion_model.joint_blocks[0].x_block.mlp.fc1.weight.dtype),
        **{name: float((out - whole).std()) for name, out in found.items()},
    }


def description() -> dict[str, Any]:
    """What a merged model, loaded by the stock loader, says of itself."""
    config = merged("merged.safetensors").model.model_config
    return config.description.as_json()


EXPERIMENTS = (
    warm_start,
    velocities,
    wide_targets,
    small_types,
    description,
)


if __name__ == "__main__":
    inside_pack.write_answers(ANSWERS, EXPERIMENTS)
