"""Measurements of our MODEL inside a real ComfyUI process (process.py starts it):

python inside_model.py PACK MODELS ANSWERS

MODELS is a folder as tiny_models.write_transformers fills it. ANSWERS becomes a JSON file with an entry per function of
EXPERIMENTS. Nothing here decides what is right: tests/nodes/test_model_inside_comfyui.py does.
"""

import sys
from pathlib import Path
from typing import Any

import inside_pack

PACK, MODELS, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import folder_paths  # noqa: E402
import latent_preview  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy.cli_args import LatentPreviewMethod  # noqa: E402
from comfy.cli_args import args as flags  # noqa: E402
from comfy.taesd.taesd import TAESD  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

loading = inside_pack.part("nodes.compat.model")
mini = inside_pack.part("davae_core.mini")
inside_pack.part("nodes.extension").DetailAlignedExtension()

BASE = MODELS / "diffusion_models" / "tiny_sd35.safetensors"
FLOAT8 = MODELS / "diffusion_models" / "tiny_sd35_fp8.safetensors"
NAMED_FLOAT8 = MODELS / "diffusion_models" / "tiny_sd35_fp8_named_in_metadata.safetensors"
ADAPTER = MODELS / "loras" / "davae_tiny.safetensors"


def saved_checkpoint() -> dict[str, Any]:
    """What Save Checkpoint writes of our MODEL and a DA-VAE, read by the stock loader and by ours."""
    model = loading.load_model(BASE, ADAPTER, "default")
    vae = inside_pack.part("nodes.compat.vae").DetailAlignedComfyVAE(mini.davae_path())
    path = MODELS / "checkpoints" / "davae_saved.safetensors"
    comfy.sd.save_checkpoint(str(path), model, clip=None, vae=vae)
    stock, _, stock_vae, _ = comfy.sd.load_checkpoint_guess_config(str(path), output_clip=False)
    again = inside_pack.part("nodes.compat.vae").DetailAlignedComfyVAE(path)
    empty = torch.zeros(1, 32, 6, 4)
    picture = torch.rand(1, 64, 48, 3, generator=torch.Generator().manual_seed(0))
    return {
        "model": largest(drawn(stock, empty) - drawn(model, empty)),
        "stock_vae_is_empty": stock_vae.first_stage_model is None,
        "vae": largest(again.encode(picture) - vae.encode(picture)),
        "hash": again.encoding_hash == vae.encoding_hash,
    }


def prompt() -> list[Any]:
    """Random text features as CLIPTextEncode gives them."""
    generator = torch.Generator().manual_seed(5)
    context = torch.randn(1, 77, 4096, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, 1344, generator=generator)}]]


def drawn(model: Any, latents: torch.Tensor, steps: int = 2) -> torch.Tensor:
    """What the model draws from seed 3, guidance 2, the stock way."""
    noise = comfy.sample.prepare_noise(latents, 3)
    text = prompt()
    return comfy.sample.sample(
        model, noise, steps, 2.0, "euler", "simple", text, text, latents, seed=3
    )


def tokens_at(model: Any, pixels: int) -> list[int]:
    """Rows of the first block's picture stream in every call while a picture of this size is drawn."""
    seen = []
    block = model.model.diffusion_model.joint_blocks[0]
    hook = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].shape[1]))
    drawn(model, torch.zeros(1, 32, pixels // 16, pixels // 16), steps=1)
    hook.remove()
    return seen


def tokens() -> dict[str, Any]:
    model = loading.load_model(BASE, ADAPTER, "default")
    return {str(pixels): tokens_at(model, pixels) for pixels in (1024, 2048)}


def warm_start() -> dict[str, Any]:
    """The widened, untrained model beside the stock one on the same file, seed and schedule, even and odd grids."""
    ours = loading.load_model(BASE, None, "default")
    stock = comfy.sd.load_diffusion_model(str(BASE))
    found = {}
    for height, width in ((6, 4), (7, 5)):
        wide = drawn(ours, torch.zeros(1, 32, height, width))
        plain = drawn(stock, torch.zeros(1, 16, height, width))
        noise = comfy.sample.prepare_noise(torch.zeros(1, 32, height, width), 3)
        found[f"{height}x{width}"] = {
            "base": largest(wide[:, :16] - plain),
            "detail": largest(wide[:, 16:] - noise[:, 16:]),
            "size": largest(plain),
        }
    return found


def float8() -> dict[str, Any]:
    """float8 storage, in the file or by choice, beside float32."""
    latents = torch.zeros(1, 32, 6, 4)
    whole = drawn(loading.load_model(BASE, ADAPTER, "default"), latents)
    stored = loading.load_model(FLOAT8, ADAPTER, "default")
    chosen = loading.load_model(BASE, ADAPTER, "fp8_e4m3fn")
    weight = chosen.model.diffusion_model.joint_blocks[0].x_block.mlp.fc1.weight
    return {
        "size": float(whole.std()),
        "stored": float((drawn(stored, latents) - whole).std()),
        "chosen": float((drawn(chosen, latents) - whole).std()),
        "dtype": str(weight.dtype),
    }


def float8_named_in_metadata() -> dict[str, Any]:
    """A base whose metadata says which layers are quantised, beside float32; or what is said against it."""
    latents = torch.zeros(1, 32, 6, 4)
    whole = drawn(loading.load_model(BASE, ADAPTER, "default"), latents)
    try:
        quantised = loading.load_model(NAMED_FLOAT8, ADAPTER, "default")
    except ValueError as error:
        return {"sentence": str(error)}
    difference = float((drawn(quantised, latents) - whole).std())
    return {"size": float(whole.std()), "difference": difference}


def imported_twice() -> dict[str, Any]:
    """A second copy of the pack, whose nodes ComfyUI runs from then on: does it know the models it loads?"""
    inside_pack.start(PACK, "davae_pack_again")
    again = inside_pack.part("nodes.compat.model", "davae_pack_again")
    inside_pack.part("nodes.extension", "davae_pack_again").DetailAlignedExtension()
    description = again.description_of(again.load_model(BASE, ADAPTER, "default"))
    registered = [c.__name__ for c in comfy.supported_models.models]
    inside_pack.part("nodes.extension").DetailAlignedExtension()
    return {
        "shift": None if description is None else description.advice.shift,
        "registered": registered.count("DetailAlignedSD3"),
    }


def another_copy() -> dict[str, Any]:
    """What ComfyUI does to give a compiler, or another GPU, a model of its own."""
    model = loading.load_model(BASE, ADAPTER, "default")
    factory, arguments = model.cached_patcher_init
    again = factory(*arguments, disable_dynamic=True)
    latents = torch.zeros(1, 32, 6, 4)
    return {
        "other_object": again.model is not model.model,
        "difference": largest(drawn(again, latents) - drawn(model, latents)),
    }


def preference() -> dict[str, Any]:
    """Which types the model offers ComfyUI, here and where bfloat16 works."""
    model = loading.load_model(BASE, None, "default")
    types = loading.inference_types
    return {
        "here": [str(kind) for kind in model.model.model_config.supported_inference_dtypes],
        "without": [str(kind) for kind in types(False)],
        "with": [str(kind) for kind in types(True)],
    }


def pixels(picture: Image.Image) -> NDArray[np.int16]:
    return np.asarray(picture, np.int16)


def preview() -> dict[str, Any]:
    """The padded small decoder beside the plain one, as ComfyUI's own previewer runs them."""
    torch.manual_seed(4)
    plain = TAESD(latent_channels=16)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    approx = MODELS / "vae_approx"
    padded = inside_pack.part("davae_core.codec.preview_decoder").pad_preview_decoder
    layout = inside_pack.part("davae_core.presets").SD3.layout
    own = plain.taesd_decoder.state_dict()
    save_file(padded("taesd3", own, layout), approx / "davae_taesd3_decoder.safetensors")
    folder_paths.add_model_folder_path("vae_approx", str(approx), is_default=True)
    flags.preview_method = LatentPreviewMethod.TAESD
    model = loading.load_model(BASE, ADAPTER, "default")
    previewer = latent_preview.get_previewer(torch.device("cpu"), model.model.latent_format)
    flags.preview_method = LatentPreviewMethod.NoPreviews
    latents = torch.randn(1, 32, 6, 4)
    picture = previewer.decode_latent_to_preview(latents)
    plain.vae_scale.data.fill_(1.0)
    plain.vae_shift.data.fill_(0.0)
    wanted = latent_preview.TAESDPreviewerImpl(plain).decode_latent_to_preview(latents[:, :16])
    return {
        "previewer": type(previewer).__name__,
        "size": list(picture.size),
        "difference": int(np.abs(pixels(picture) - pixels(wanted)).max()),
        "flat": len(set(picture.tobytes())) < 3,
        "first_layer": list(
            load_file(approx / "davae_taesd3_decoder.safetensors")["1.weight"].shape
        ),
    }


def other_channels() -> dict[str, Any]:
    """Adapters and merged files of other layouts than SD3.5's, through our loader and through the stock one."""
    core = inside_pack.part("davae_core")
    adapters = inside_pack.part("davae_core.transformer.adapter")
    merging = inside_pack.part("davae_core.transformer.merging")
    description = inside_pack.part("davae_core.transformer.description")
    empty = inside_pack.part("nodes.empty_latent").EmptyLatent
    base = load_file(BASE)
    found = {}
    for detail, ratio in ((48, 2), (256, 4)):
        layout = core.LatentLayout(16, detail, 8, ratio, base_shift=0.0609, base_scale=1.5305)
        edges = {
            name: torch.randn_like(edge) * 0.05
            for name, edge in adapters.widened_edges(base, layout).items()
        }
        adapter = adapters.Adapter(layout, {}, edges, description.Advice(shift=3.0))
        path, merged = (ANSWERS.with_name(f"{kind}_{detail}.safetensors") for kind in "am")
        adapters.write_adapter(path, adapter)
        merging.write_merged(merged, merging.plan_merge(base, adapter))
        models = [
            loading.load_model(BASE, path, "default"),
            loading.load_model(merged, None, "default"),
            comfy.sd.load_diffusion_model(str(merged)),
        ]
        side = 4 * layout.factor
        latent = empty.execute(side, side, 1, models[0]).result[0]["samples"]
        pictures = [drawn(model, latent) for model in models]
        preview = models[2].model.latent_format.latent_rgb_factors
        found[f"{detail} at {ratio}"] = {
            "shape": list(pictures[0].shape),
            "apart": max(largest(picture - pictures[0]) for picture in pictures[1:]),
            "drawn": largest(pictures[0][:, 16:]),
            "preview": len(preview),
        }
    return found


EXPERIMENTS = (
    tokens,
    warm_start,
    float8,
    float8_named_in_metadata,
    imported_twice,
    another_copy,
    preference,
    preview,
    other_channels,
    saved_checkpoint,
)


if __name__ == "__main__":
    inside_pack.write_answers(ANSWERS, EXPERIMENTS)
