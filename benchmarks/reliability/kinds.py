"""Every kind of file that is read, small and whole, and the ways in which it is used."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from davae_core.cli.commands import main as davae
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import BaseVae, load_base_vae, load_codec, save_base_vae, save_codec
from davae_core.codec.latent_files import save_latents
from davae_core.codec.packing_fit import pack
from davae_core.codec.preview_decoder import FIRST
from davae_core.codec.small import SmallConfig
from davae_core.images import read_image
from davae_core.latents import LatentLayout
from davae_core.mini.text_encoder import TextConfig, clip_text_model
from davae_core.mini.text_encoder_files import read_text_encoder, write_text_encoder
from davae_core.pipeline import load_pipeline
from davae_core.presets import SD3
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.merging import merge_files
from davae_core.transformer.pretrained import load_transformer
from training.__main__ import main as training
from training.settings.yaml_config import read_config

from .isolation import ROOT, Work

GOLDEN = ROOT / "tests" / "data" / "golden"
LAYOUT = LatentLayout(4, 12, 4, 2, base_shift=0.1, base_scale=1.5)
BACKBONE = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4)


@dataclass(frozen=True)
class Kind:
    """A kind of file: the folder below `sources` it is whole in, its name there, its format, and how it is used.

    `uses` work in a copy of that folder.
    """

    name: str
    folder: str
    file: str
    form: str
    uses: tuple[Work, ...]

    @property
    def leaves_nothing(self) -> bool:
        """Whether a process can be used again afterwards; a training keeps its device's state in it."""
        return self.folder not in ("trained", "resumable")


def command(*words: str) -> Work:
    """A call of `davae`."""
    return lambda: davae(list(words))


def train(*words: str) -> Work:
    """A call of `python -m training`."""
    return lambda: training(list(words))


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Work:
    """A call of a function whose result does not matter."""

    def work() -> None:
        function(*arguments, **named)

    return work


def write_sources(folder: Path, names: Iterable[str]) -> None:
    """Write the whole files of these of SOURCES below `folder`, the same bytes each time."""
    torch.set_num_threads(1)
    for name in names:
        torch.manual_seed(0)
        (folder / name).mkdir(parents=True)
        SOURCES[name](folder / name)


# The files


def write_picture(path: Path, side: int = 32, seed: int = 0) -> Path:
    """Write a square picture of noise."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (side, side, 3), generator=random, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    return path


def _codecs(folder: Path) -> None:
    codec = DetailAlignedVAE(CodecConfig(LAYOUT, BACKBONE)).eval()
    codec.set_detail_statistics(torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12))
    save_codec(folder / "codec.safetensors", codec)
    base = KLAutoencoder(BACKBONE, 4).eval().requires_grad_(False)
    save_base_vae(folder / "base.safetensors", base, shift=0.1, scale=1.5)
    photographs = [torch.rand(1, 3, 32, 32) * 2 - 1 for _ in range(4)]
    layout = LatentLayout(4, 0, 4, 1, base_shift=0.1, base_scale=1.5)
    save_codec(folder / "packed.safetensors", pack(BaseVae(base, layout), photographs))
    small = SmallConfig(width=8, levels=2, blocks=1, shift=0.1, scale=1.5)
    little = KLAutoencoder(small, 4).eval().requires_grad_(False)
    save_base_vae(folder / "small.safetensors", little, shift=0.1, scale=1.5)
    for half in ("encoder", "decoder"):
        save_file(getattr(little, half).state_dict(), folder / f"tae_{half}.safetensors")
    with torch.no_grad():
        write_picture(folder / "photograph.png", 256, seed=1)
        picture = read_image(write_picture(folder / "picture.png"))
        latents = load_codec(folder / "codec.safetensors").encode(picture)
    save_latents(folder / "latent.safetensors", latents, LAYOUT, folder / "codec.safetensors")
    (folder / "diffusers").mkdir()
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(GOLDEN / "base_vae" / name, folder / "diffusers")


def _text_encoder(folder: Path) -> None:
    write_text_encoder(folder / "clip.safetensors", clip_text_model(TextConfig(16, 2, 2, 32)))


def _preview(folder: Path) -> None:
    tensors = {FIRST: torch.randn(64, 16, 3, 3), "3.conv.0.weight": torch.randn(4, 4)}
    save_file(tensors, folder / "taesd3_decoder.safetensors")


def _published(folder: Path) -> None:
    trained = load_file(GOLDEN / "davae_without_base.safetensors")
    base = load_file(GOLDEN / "base_vae" / "diffusion_pytorch_model.safetensors")
    named = {f"original_vae_model.vae.{name}": tensor for name, tensor in base.items()}
    torch.save(trained | named, folder / "pytorch_model.bin")
    shutil.copy(GOLDEN / "latent_norm_stats.json", folder)


def _transformers(folder: Path) -> None:
    """The published stage 2, the adapter made of it, the merged model, and the base as a folder of shards."""
    for name in ("base.safetensors", "pytorch_lora_weights.safetensors", "step_4321.pt"):
        shutil.copy(GOLDEN / "transformer" / name, folder)
    base, adapter = folder / "base.safetensors", folder / "adapter.safetensors"
    words = ["convert", str(folder / "step_4321.pt"), "-o", str(adapter), "--base", str(base)]
    lora = folder / "pytorch_lora_weights.safetensors"
    assert davae([*words, "--weights", "live", "--lora", str(lora)]) == 0
    merge_files(base, adapter, folder / "merged.safetensors", None, None)
    backbone = KLConfig(widths=(8, 16, 16, 16), res_blocks=1, norm_groups=4)
    codec = DetailAlignedVAE(CodecConfig(SD3.layout, backbone))
    save_codec(folder / "davae_sd3.safetensors", codec)
    shards = folder / "shards"
    shards.mkdir()
    shutil.copy(base, shards / "one.safetensors")
    names = dict.fromkeys(load_file(base), "one.safetensors")
    index = shards / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict(list(names.items())[:8])}))


def _captioned(folder: Path) -> None:
    """Captioned pictures in a folder and in a tar file, the VAE and the text encoder, and two configurations."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(2):
        write_picture(pictures / f"{number}.png", 16, number)
    (pictures / "0.txt").write_text("a red circle")
    (pictures / "1.json").write_text(json.dumps({"prompt": "a blue square", "seed": 3}))
    with tarfile.open(folder / "set.tar", "w") as tar:
        for path in sorted(pictures.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    small = KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4)
    layout = LatentLayout(16, 16, 2, 2, 0.25, 2.0)
    save_codec(folder / "davae.safetensors", DetailAlignedVAE(CodecConfig(layout, small)))
    clip = clip_text_model(TextConfig(16, 2, 2, 32))
    write_text_encoder(folder / "clip.safetensors", clip)
    for name, source in (("folder", {"folders": ["pictures"]}), ("tar", {"shards": ["set.tar"]})):
        write_yaml(folder / f"{name}.yaml", _cache_settings(source))


def _cache_settings(source: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "source": source,
        "images": {"side": 16, "multiple": 8, "longest": 3.0, "enlarge": True},
        "vae": {"kind": "davae", "file": "davae.safetensors"},
        "text": {"kind": "mini", "source": "clip.safetensors", "t5_tokens": 0},
        "work": {"device": "cpu", "precision": "fp32", "batch_size": 2},
        "prompts": ["a circle"],
        "output": {"folder": "cache", "shard_pictures": 2},
    }


def _trained(folder: Path) -> None:
    """A cache, and a run on it whose checkpoint of step 1 wants one step more."""
    from tests.training.dit_fixtures import write_base_transformer, write_cache, write_davae

    davae_file = write_davae(folder)
    base = write_base_transformer(folder)
    write_cache(folder / "cache", davae_file, True, [(4, 4)] * 4)
    write_yaml(folder / "dit.yaml", dit_settings(base.name, davae_file.name))


def dit_settings(base: str, vae: str, steps: int = 2) -> dict[str, Any]:
    """A configuration that trains an adapter on the folder `cache` in a second."""
    return {
        "model": {"base": base, "vae": vae, "lora": {"rank": 2, "alpha": 4}},
        "data": {"caches": ["cache"], "in_memory": True},
        "loss": {"ramp_steps": 2},
        "train": {"steps": steps, "batch_size": 2, "device": "cpu", "precision": "fp32", "seed": 5},
        "validation": {"cache": None, "samples_every": 0},
        "output": {
            "folder": "run", "name": "result", "checkpoint_every": 1, "log_every": 1, "keep": 3,
            "tensorboard": False, "dtype": "fp32",
        },
    }  # fmt: skip


def _resumable(folder: Path) -> None:
    _trained(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert training(["dit", "dit.yaml", "--stop-at", "1"]) == 1
    finally:
        os.chdir(before)


def _recipes(folder: Path) -> None:
    for path in (ROOT / "training" / "configs").glob("*.yaml"):
        shutil.copy(path, folder)
    record = {
        "name": "base_vae",
        "cpu_seconds": 1.0,
        "wall_seconds": 2.0,
        "finished": True,
        "settings": {"a.b": 1},
    }
    (folder / "stages.json").write_text(json.dumps([record]))


def write_yaml(path: Path, settings: dict[str, Any]) -> None:
    """Write a configuration."""
    path.write_text(yaml.safe_dump(settings))


SOURCES: dict[str, Callable[[Path], None]] = {
    "codecs": _codecs,
    "text": _text_encoder,
    "preview": _preview,
    "published": _published,
    "transformers": _transformers,
    "captioned": _captioned,
    "trained": _trained,
    "resumable": _resumable,
    "recipes": _recipes,
}


# The uses


def kinds() -> tuple[Kind, ...]:
    """Every kind with its uses."""
    return (
        *_codec_kinds(),
        *_transformer_kinds(),
        *_picture_kinds(),
        *_setting_kinds(),
        *_training_kinds(),
    )


def _codec_kinds() -> Iterator[Kind]:
    for name in ("codec", "packed"):
        file = f"{name}.safetensors"
        uses = [
            command("inspect", file),
            command("encode", "picture.png", "--vae", file, "-o", "out.safetensors"),
        ]
        if name == "codec":
            uses.append(command("decode", "latent.safetensors", "--vae", file, "-o", "out.png"))
        yield Kind(name, "codecs", file, "safetensors", tuple(uses))
    for name, file, source in (
        ("base VAE", "base.safetensors", "base.safetensors"),
        ("small VAE", "small.safetensors", "small.safetensors"),
        ("published small VAE", "tae_encoder.safetensors", "tae_encoder.safetensors"),
        ("diffusers VAE", "diffusers/diffusion_pytorch_model.safetensors", "diffusers"),
    ):
        uses = [
            command("inspect", file),
            command("pack", source, "photograph.png", "-o", "out.safetensors"),
        ]
        yield Kind(name, "codecs", file, "safetensors", tuple(uses))
    settings = "diffusers/config.json"
    yield Kind("diffusers config", "codecs", settings, "json", (call(load_base_vae, "diffusers"),))
    decode = ("decode", "latent.safetensors", "--vae", "codec.safetensors", "-o", "out.png")
    draft = command(*decode, "--draft")
    uses = [command("inspect", "latent.safetensors"), command(*decode), draft]
    yield Kind("latent", "codecs", "latent.safetensors", "safetensors", tuple(uses))
    padded = command("preview-decoder", "taesd3_decoder.safetensors", "-o", "out.safetensors")
    uses = [padded, command("inspect", "taesd3_decoder.safetensors")]
    yield Kind(
        "preview decoder", "preview", "taesd3_decoder.safetensors", "safetensors", tuple(uses)
    )
    uses = [command("inspect", "clip.safetensors"), call(read_text_encoder, "clip.safetensors")]
    yield Kind("text encoder", "text", "clip.safetensors", "safetensors", tuple(uses))
    convert = command("convert", "pytorch_model.bin", "-o", "out.safetensors")
    yield Kind("published codec", "published", "pytorch_model.bin", "pickle", (convert,))
    yield Kind("statistics", "published", "latent_norm_stats.json", "json", (convert,))


def _transformer_kinds() -> Iterator[Kind]:
    merge = command("merge", "base.safetensors", "adapter.safetensors", "-o", "out.safetensors")
    adapter, base = "adapter.safetensors", "base.safetensors"
    yield Kind(
        "adapter",
        "transformers",
        adapter,
        "safetensors",
        (command("inspect", adapter), merge, call(read_adapter, adapter)),
    )
    yield Kind(
        "transformer", "transformers", base, "safetensors", (command("inspect", base), merge)
    )
    merged = "merged.safetensors"
    drawn = call(load_pipeline, merged, "davae_sd3.safetensors", encode_text=call(str))
    yield Kind(
        "merged model", "transformers", merged, "safetensors", (command("inspect", merged), drawn)
    )
    index = "shards/diffusion_pytorch_model.safetensors.index.json"
    yield Kind(
        "index of shards", "transformers", index, "json", (call(load_transformer, "shards"),)
    )
    live = ("--weights", "live", "--lora", "pytorch_lora_weights.safetensors")
    convert = ("convert", "step_4321.pt", "--base", base, "-o", "out.safetensors")
    uses = (command(*convert, *live), command(*convert, "--weights", "ema"))
    yield Kind("published stage 2", "transformers", "step_4321.pt", "pickle", uses)
    lora = "pytorch_lora_weights.safetensors"
    yield Kind("published LoRA", "transformers", lora, "safetensors", uses[:1])


def _picture_kinds() -> Iterator[Kind]:
    encode = command("encode", "picture.png", "--vae", "codec.safetensors", "-o", "out.safetensors")
    yield Kind("picture", "codecs", "picture.png", "picture", (encode,))
    folder, tar = train("cache", "folder.yaml"), train("cache", "tar.yaml")
    yield Kind("captioned picture", "captioned", "pictures/0.png", "picture", (folder,))
    yield Kind("caption", "captioned", "pictures/0.txt", "bytes", (folder,))
    yield Kind("caption in JSON", "captioned", "pictures/1.json", "json", (folder,))
    yield Kind("tar of captions", "captioned", "set.tar", "tar", (tar,))


def _setting_kinds() -> Iterator[Kind]:
    from training.cache.config import CacheConfig
    from training.dit.config import DitTrainingConfig
    from training.mini.pictures_config import CodecPicturesConfig, PromptScenesConfig
    from training.mini.text_config import TextTrainingConfig
    from training.vae.config import VaeTrainingConfig

    for recipe, config in (
        ("paper", VaeTrainingConfig), ("mini_davae", VaeTrainingConfig), ("sd35_paper", DitTrainingConfig),
        ("mini_adapter", DitTrainingConfig), ("sd35_cache", CacheConfig), ("mini_clip_l", TextTrainingConfig),
        ("mini_pictures", CodecPicturesConfig), ("mini_scenes", PromptScenesConfig),
    ):  # fmt: skip
        file = f"{recipe}.yaml"
        yield Kind(
            f"settings {recipe}", "recipes", file, "yaml", (call(read_config, config, Path(file)),)
        )
    plan = (train("dit", "dit.yaml", "--dry-run"),)
    yield Kind("settings of a plan", "trained", "dit.yaml", "yaml", plan)


def _training_kinds() -> Iterator[Kind]:
    run = (train("dit", "dit.yaml", "--stop-at", "1"), train("dit", "dit.yaml", "--dry-run"))
    for name, file, form in (
        ("cache head", "cache.json", "json"),
        ("cache index", "shard_00000.json", "json"),
        ("cache shard", "shard_00000.safetensors", "safetensors"),
        ("cache texts", "texts.safetensors", "safetensors"),
    ):
        yield Kind(name, "trained", f"cache/{file}", form, run)
    last = "run/checkpoints/step_00000001"
    resume = (train("dit", "dit.yaml"),)
    for name, file, form in (
        ("checkpoint state", "state.json", "json"),
        ("checkpoint model", "model.safetensors", "safetensors"),
        ("checkpoint optimizer", "model_optimizer.safetensors", "safetensors"),
        ("checkpoint average", "average.safetensors", "safetensors"),
    ):
        yield Kind(name, "resumable", f"{last}/{file}", form, resume)
    from training.mini.stage_log import StageLog

    yield Kind(
        "log of stages", "recipes", "stages.json", "json", (call(StageLog, Path("stages.json")),)
    )


def whole_file(kind: Kind, sources: Path) -> bytes:
    """The undamaged file."""
    return (sources / kind.folder / kind.file).read_bytes()


COPIED = 100_000
"""Bytes up to which `copy_folder` copies a file; larger ones, which nothing writes into, are linked."""


def copy_folder(source: Path, target: Path, without: str = "") -> Path:
    """A copy of a folder to work in; the file `without`, whose folder is made, is left out. Returns `target`."""
    (target / without).parent.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        inside = path.relative_to(source)
        place = target / inside
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif inside.as_posix() != without:
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size > COPIED:
                os.link(path, place)
            else:
                shutil.copy(path, place)
    return target
