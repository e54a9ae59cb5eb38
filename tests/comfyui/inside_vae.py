"""Measurements of our VAE object inside a real ComfyUI process (process.py starts it):

python inside_vae.py PACK MODELS PICTURE ANSWERS

PACK is this repository, MODELS a folder of codec files, PICTURE a photograph; ANSWERS becomes a JSON file with one
entry per function of EXPERIMENTS. Nothing here decides what is right: the tests do.
"""

import sys
from pathlib import Path
from typing import Any

import inside_pack

PACK, MODELS, PICTURE, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import comfy.model_management as management  # noqa: E402
import comfy.sd  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy_api.latest import io  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

DetailAlignedComfyVAE = inside_pack.part("nodes.compat.vae").DetailAlignedComfyVAE
features = inside_pack.part("nodes.compat.features")
core = inside_pack.part("davae_core")
codec_files = inside_pack.part("davae_core.codec.files")
mini = inside_pack.part("davae_core.mini")
tiling = inside_pack.part("davae_core.codec.tiling")
DESCRIPTION = inside_pack.part("davae_core.codec.stock_saved").DESCRIPTION

RANDOM = MODELS / "davae_random.safetensors"
PACKED = MODELS / "davae_packed.safetensors"


def photograph() -> torch.Tensor:
    """The picture [1, H, W, 3] in [0, 1], as LoadImage gives it."""
    return torch.from_numpy(np.asarray(Image.open(PICTURE).convert("RGB"), np.float32) / 255)[None]


def agreement_with_the_core() -> dict[str, Any]:
    """The VAE object beside davae_core on torch.nn, on a picture whose sides are no multiples, with alpha."""
    torch.manual_seed(1)
    picture = torch.rand(2, 250, 330, 4)
    vae = DetailAlignedComfyVAE(RANDOM)
    codec = codec_files.load_codec(RANDOM)
    cropped = picture[:, 5:245, 5:325, :3].movedim(-1, 1) * 2 - 1
    expected = codec.encode(cropped)
    latents = vae.encode(picture)
    decoded = codec.decode(expected).movedim(1, -1) / 2 + 0.5
    draft = codec.decode_base(expected).movedim(1, -1) / 2 + 0.5
    return {
        "latent_shape": list(latents.shape),
        "encode": largest(latents - expected),
        "decode": largest(vae.decode(latents) - decoded),
        "draft": largest(vae.decode_draft(latents) - draft),
        "draft_shape": list(draft.shape),
        "keys": sorted(set(vae.get_sd()) - {DESCRIPTION}) == sorted(load_file(RANDOM)),
        "statistics": largest(vae.get_sd()["detail.std"] - load_file(RANDOM)["detail.std"]),
    }


def packed_detail() -> dict[str, Any]:
    """A packed codec beside the plain VAE that it was packed of, on a photograph; in float32 and bfloat16."""
    picture = photograph()[:, :256, :320]
    vae, half = DetailAlignedComfyVAE(PACKED), DetailAlignedComfyVAE(PACKED, dtype=torch.bfloat16)
    plain = codec_files.load_base_vae(mini.davae_path()).vae.float()
    with torch.no_grad():
        own = plain.decode(plain.encode_moments(picture.movedim(-1, 1) * 2 - 1).mean)
    expected = own.clamp(-1, 1).movedim(1, -1) / 2 + 0.5
    latents = vae.encode(picture)
    tiled = vae.decode_tiled(latents, tile_x=16, tile_y=16, overlap=4)
    return {
        "latent_shape": list(latents.shape),
        "decode": largest(vae.decode(latents) - expected),
        "tiled": float((tiled - expected).abs().mean()),
        "half": float((half.decode(half.encode(picture)) - expected).abs().mean()),
        "draft_shape": list(vae.decode_draft(latents).shape),
        "keys": sorted(set(vae.get_sd()) - {DESCRIPTION}) == sorted(load_file(PACKED)),
    }


def agreement_with_comfyui() -> dict[str, Any]:
    """Our base encoder and decoder beside ComfyUI's own, on the same random weights of a stock SD3 VAE's shape."""
    torch.manual_seed(2)
    ours = core.KLAutoencoder(core.PRESETS["sd3"].backbone, latent_channels=16).eval()
    theirs = comfy.sd.VAE(sd=ours.state_dict(), dtype=torch.float32)
    picture = torch.rand(1, 64, 96, 3)
    latents = ours.encode_moments(picture.movedim(-1, 1) * 2 - 1).mean
    images = (ours.decode(latents).clamp(-1, 1) / 2 + 0.5).movedim(1, -1)
    return {
        "encode": largest(theirs.encode(picture) - latents),
        "decode": largest(theirs.decode(latents) - images),
        "latent_size": largest(latents),
    }


def a_small_vae_in_stock_hands() -> dict[str, Any]:
    """The file of a small base VAE through ComfyUI's own loader, and a codec that grew from it through ours."""
    torch.manual_seed(3)
    preset = core.PRESETS["small"]
    ours = core.KLAutoencoder(preset.backbone, latent_channels=16).eval()
    path = ANSWERS.with_name("small_base.safetensors")
    codec_files.save_base_vae(path, ours, preset.backbone.shift, preset.backbone.scale)
    theirs = comfy.sd.VAE(sd=load_file(path), dtype=torch.float32)
    picture = torch.rand(1, 64, 96, 3)
    latents = ours.encode_moments(picture.movedim(-1, 1) * 2 - 1).mean
    images = (ours.decode(latents).clamp(-1, 1) / 2 + 0.5).movedim(1, -1)
    codec = core.DetailAlignedVAE.from_base(ours, preset).eval()
    codec_files.save_codec(path.with_name("small_davae.safetensors"), codec)
    vae = DetailAlignedComfyVAE(path.with_name("small_davae.safetensors"), dtype=torch.float32)
    expected = codec.encode(picture.movedim(-1, 1) * 2 - 1)
    return {
        "encode": largest(theirs.encode(picture) - latents),
        "decode": largest(theirs.decode(latents) - images),
        "codec": largest(vae.encode(picture) - expected),
        "draft": list(vae.decode_draft(expected).shape),
    }


def fallback_when_memory_runs_out() -> dict[str, Any]:
    """The decoder refuses more than `limit` latent cells as a full GPU would: which tiles does ComfyUI then try?"""
    vae = DetailAlignedComfyVAE(RANDOM)
    latents = torch.zeros(1, 32, 48, 40)
    limit, tried = 32 * 32, []

    def refuse(_: object, inputs: tuple[torch.Tensor]) -> None:
        cells = inputs[0].shape[-2] * inputs[0].shape[-1]
        tried.append(cells)
        if cells > limit:
            raise management.OOM_EXCEPTION("out of memory, says this test")

    hook = vae.first_stage_model.joint.register_forward_pre_hook(refuse)
    images = vae.decode(latents)
    hook.remove()
    return {"shape": list(images.shape), "first": tried[0], "largest_after": max(tried[1:])}


def tiles_on_a_photograph() -> dict[str, Any]:
    """The bundled miniature's whole decode beside tiles of 256 pixels sharing 64, as VAE Decode (Tiled) makes them."""
    vae = DetailAlignedComfyVAE(mini.davae_path())
    latents = vae.encode(photograph())
    whole = vae.decode(latents)
    tiled = vae.decode_tiled(latents, tile_x=16, tile_y=16, overlap=4)
    borders = tile_borders(whole.shape[2])
    return {
        "mean_difference": float((tiled - whole).abs().mean()),
        "step_at_borders": steps(tiled - whole, borders),
        "step_elsewhere": steps(tiled - whole, inner_columns(whole.shape[2], borders)),
    }


def tile_borders(width: int) -> list[int]:
    """Columns where a tile of at most 256 pixels that shares 64 with the next begins or ends."""
    tiles = tiling.tiles_of(width // 16, 16, 4)
    columns = {side * 16 for tile in tiles for side in (tile.start, tile.stop)}
    return sorted(columns - {0, width})


def work_and_memory_of_tiles() -> dict[str, Any]:
    """Which tiles a decode in tiles works through, and for how many bytes it asks before."""
    vae, asked, tried = DetailAlignedComfyVAE(RANDOM), [], []
    hook = vae.first_stage_model.joint.register_forward_pre_hook(
        lambda _, inputs: tried.append(inputs[0].shape[-2] * inputs[0].shape[-1])
    )
    load = management.load_models_gpu

    def watched(models: Any, memory_required: int = 0, **rest: Any) -> None:
        asked.append(memory_required)
        load(models, memory_required=memory_required, **rest)

    management.load_models_gpu = watched
    try:
        vae.decode(torch.zeros(1, 32, 40, 40))
        vae.decode_tiled(torch.zeros(2, 32, 40, 40), tile_x=24, tile_y=24, overlap=4)
    finally:
        management.load_models_gpu = load
        hook.remove()
    return {"cells": tried, "asked": asked}


def drafts_on_their_own() -> dict[str, Any]:
    """Whether the base decoder is moved to the device with the codec, and whether it is when a draft is asked for."""
    vae, loaded = DetailAlignedComfyVAE(RANDOM), []
    load = management.load_models_gpu

    def watched(models: Any, **rest: Any) -> None:
        loaded.append([name.split(".")[0] for m in models for name in m.model.state_dict()])
        load(models, **rest)

    management.load_models_gpu = watched
    try:
        latents = torch.zeros(1, 32, 4, 4)
        vae.decode(latents)
        vae.decode_draft(latents)
    finally:
        management.load_models_gpu = load
    return {"full": sorted(set(loaded[0])), "draft": sorted(set(loaded[1]))}


def tiles_of_an_encode() -> dict[str, Any]:
    """Stock VAE Encode (Tiled) on the bundled miniature, beside the whole encode."""
    vae = DetailAlignedComfyVAE(mini.davae_path())
    picture = photograph()[:, :256, :384]
    whole, calls = vae.encode(picture), []
    hook = vae.first_stage_model.detail.down.register_forward_pre_hook(
        lambda _, inputs: calls.append(list(inputs[0].shape[-2:]))
    )
    tiled = vae.encode_tiled(picture, tile_x=256, tile_y=256, overlap=64)
    hook.remove()
    return {
        "calls": calls,
        "difference": float((tiled - whole).abs().mean() / whole.abs().mean()),
    }


def inner_columns(width: int, borders: list[int]) -> list[int]:
    """The other columns where latent cells meet: the decoder's own grid is not held against the tiles."""
    return [column for column in range(16, width, 16) if column not in borders]


def steps(difference: torch.Tensor, columns: list[int]) -> float:
    """Mean step of a picture [B, H, W, 3] from the column before to each of `columns`."""
    places = torch.tensor(columns)
    return float((difference[:, :, places] - difference[:, :, places - 1]).abs().mean())


def interruption() -> dict[str, Any]:
    """An interrupt during a draft reaches ComfyUI, and the next draft works."""
    vae = DetailAlignedComfyVAE(RANDOM)
    latents = torch.zeros(1, 32, 4, 4)
    management.interrupt_current_processing(True)
    try:
        vae.decode_draft(latents)
        raised = ""
    except management.InterruptProcessingException as error:
        raised = type(error).__name__
    return {"raised": raised, "afterwards": list(vae.decode_draft(latents).shape)}


def another_copy() -> dict[str, Any]:
    """What ComfyUI does to copy a model that came from a file."""
    patcher = DetailAlignedComfyVAE(RANDOM).patcher
    factory, arguments = patcher.cached_patcher_init
    again = factory(*arguments, disable_dynamic=True)
    before, after = patcher.model.state_dict(), again.model.state_dict()
    return {
        "other_object": again.model is not patcher.model,
        "equal": all(torch.equal(before[name], after[name]) for name in before),
    }


def half_precision() -> dict[str, Any]:
    """bfloat16, as on a GPU: pictures stay finite and near the float32 ones."""
    torch.manual_seed(3)
    picture = torch.rand(1, 64, 64, 3)
    whole = DetailAlignedComfyVAE(RANDOM)
    half = DetailAlignedComfyVAE(RANDOM, dtype=torch.bfloat16)
    latents = whole.encode(picture)
    return {
        "dtype": str(next(half.first_stage_model.parameters()).dtype),
        "encode": largest(half.encode(picture) - latents) / largest(latents),
        "decode": largest(half.decode(latents) - whole.decode(latents)),
        "out": str(half.decode(latents).dtype),
    }


def keyword_filter() -> dict[str, Any]:
    """Schema and input keywords this ComfyUI knows, and one that none does."""
    return {
        "schema": features.supported(io.Schema, {"node_id": "x", "of_no_version": 1}),
        "input": features.supported(io.Int.Input, {"tooltip": "x", "of_no_version": 1}),
    }


def self_test() -> dict[str, Any]:
    return {"problems": features.problems()}


EXPERIMENTS = (
    agreement_with_the_core,
    packed_detail,
    agreement_with_comfyui,
    a_small_vae_in_stock_hands,
    fallback_when_memory_runs_out,
    tiles_on_a_photograph,
    work_and_memory_of_tiles,
    tiles_of_an_encode,
    drafts_on_their_own,
    interruption,
    another_copy,
    half_precision,
    keyword_filter,
    self_test,
)


if __name__ == "__main__":
    inside_pack.write_answers(ANSWERS, EXPERIMENTS)
